package wire

import (
	"context"
	"io"
	"net/http"
)

// Patient lets the handlers of streams wait with Await for what comes next.
// Connect takes a buffer out of its pool before it waits for a message, and holds
// it until that has come: one that was last used to send half a megabyte is then
// held by a stream on which a heartbeat comes every two seconds.
func Patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := &patientBody{ReadCloser: r.Body}
		r = r.WithContext(context.WithValue(r.Context(), patientKey{}, body))
		r.Body = body
		next.ServeHTTP(w, r)
	})
}

// Await waits until something of the next message of a call has come, or its
// stream has ended: then receiving tells how. Only the goroutine that receives
// may call it. Without Patient it returns at once.
func Await(ctx context.Context) {
	if body, ok := ctx.Value(patientKey{}).(*patientBody); ok {
		body.await()
	}
}

type patientKey struct{}

// patientBody is the body of a request of which one byte may have been read
// ahead.
type patientBody struct {
	io.ReadCloser

	ahead [1]byte
	held  bool
	err   error
}

func (b *patientBody) await() {
	for !b.held && b.err == nil {
		var n int
		n, b.err = b.ReadCloser.Read(b.ahead[:])
		b.held = n > 0
	}
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case b.held:
		b.held = false
		return copy(p, b.ahead[:]), nil
	case b.err != nil:
		return 0, b.err
	default:
		return b.ReadCloser.Read(p)
	}
}
