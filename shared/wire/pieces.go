package wire

import "net/http"

// pieceSize is what net/http2 buffers of an answer anyway.
const pieceSize = 4 << 10

// Pieces sends what a handler writes in small frames. net/http2 keeps, for as
// long as a connection lives, a buffer of the largest frame that it ever wrote: of
// thousands of streams, most of which are idle, that is the largest part.
func Pieces(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(pieceWriter{w}, r) })
}

type pieceWriter struct{ http.ResponseWriter }

// Write implements io.Writer.
func (w pieceWriter) Write(p []byte) (int, error) {
	written := 0
	for {
		n, err := w.ResponseWriter.Write(p[:min(len(p), pieceSize)])
		written += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return written, err
		}
	}
}

// Flush implements http.Flusher, which Connect asks for.
func (w pieceWriter) Flush() { _ = w.FlushError() } // the next write tells

// FlushError is what http.ResponseController asks for.
func (w pieceWriter) FlushError() error { return http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (w pieceWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
