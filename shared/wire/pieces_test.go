package wire

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNoFrameIsLargerThanAPiece(t *testing.T) {
	for name, length := range map[string]int{"nothing": 0, "less than a piece": 100, "one piece": pieceSize, "many": 10*pieceSize + 1} {
		t.Run(name, func(t *testing.T) {
			into := &counted{ResponseRecorder: httptest.NewRecorder()}
			want := strings.Repeat("x", length)
			Pieces(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if n, err := io.WriteString(w, want); n != length || err != nil {
					t.Errorf("%d bytes were written: %v", n, err)
				}
				w.(http.Flusher).Flush()
			})).ServeHTTP(into, httptest.NewRequest(http.MethodPost, "/", nil))
			if into.largest > pieceSize || into.Body.String() != want || !into.Flushed {
				t.Errorf("%d bytes came, at most %d at once, flushed: %t", into.Body.Len(), into.largest, into.Flushed)
			}
		})
	}
}

// counted knows the largest write.
type counted struct {
	*httptest.ResponseRecorder
	largest int
}

func (c *counted) Write(p []byte) (int, error) {
	c.largest = max(c.largest, len(p))
	return c.ResponseRecorder.Write(p)
}
