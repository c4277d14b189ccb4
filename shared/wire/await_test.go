package wire

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWhatWasAwaitedIsReadWhole(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"nothing comes":         strings.NewReader(""),
		"one byte comes":        strings.NewReader("x"),
		"all comes at once":     strings.NewReader("a message"),
		"it comes byte by byte": iotest.OneByteReader(strings.NewReader("a message")),
		"the end comes with it": iotest.DataErrReader(strings.NewReader("a message")),
		"the stream breaks":     iotest.TimeoutReader(iotest.HalfReader(strings.NewReader("a message"))),
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			want, wantErr := io.ReadAll(io.TeeReader(body, &text))
			again := io.MultiReader(strings.NewReader(text.String()), failing{wantErr})
			var got strings.Builder
			var err error
			Patient(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				piece := make([]byte, 4)
				for n := 0; err == nil; got.Write(piece[:n]) {
					Await(r.Context())
					Await(r.Context()) // once more does not read on
					n, err = r.Body.Read(piece)
				}
			})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", again))
			if wantErr == nil {
				wantErr = io.EOF
			}
			if got.String() != string(want) || err != wantErr {
				t.Errorf("%q and %v, want %q and %v", got.String(), err, want, wantErr)
			}
		})
	}
}

func TestAwaitWithoutPatientReturnsAtOnce(*testing.T) { Await(context.Background()) }

// failing ends with an error, or as files do.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}
