package api

import (
	"bytes"
	"net/http"

	"skerry.dev/shared/problem"
)

// refusal is an answer that many get, made once: to refuse must cost little when more
// comes than can be done. The body of a call is not read for it.
type refusal struct {
	err        error
	retryAfter string
	// made answers by the content type of the call.
	made map[string]*prepared
}

// preparedTypes are those of Connect's unary calls, which nearly all are.
var preparedTypes = []string{"application/proto", "application/json"}

func newRefusal(retryAfter string, err *problem.Error) *refusal {
	f := &refusal{err: err, retryAfter: retryAfter, made: map[string]*prepared{}}
	for _, kind := range preparedTypes {
		made := &prepared{header: http.Header{}, status: http.StatusOK}
		f.compose(made, &http.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {kind}}})
		f.made[kind] = made
	}
	return f
}

func (f *refusal) compose(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", f.retryAfter)
	writeError(w, r, f.err)
}

// write it as the answer to a call.
func (f *refusal) write(w http.ResponseWriter, r *http.Request) {
	made := f.made[r.Header.Get("Content-Type")]
	if made == nil || r.Method != http.MethodPost {
		f.compose(w, r)
		return
	}
	for name, values := range made.header {
		w.Header()[name] = values
	}
	w.WriteHeader(made.status)
	_, _ = w.Write(made.body.Bytes()) // the connection may be gone
}

// prepared is what was written once.
type prepared struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *prepared) Header() http.Header            { return a.header }
func (a *prepared) WriteHeader(status int)         { a.status = status }
func (a *prepared) Write(text []byte) (int, error) { return a.body.Write(text) }
