package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// shelf is a store that knows only blobs: an image is a text of digests.
type shelf struct {
	runtime.ImageStore
	mu       sync.Mutex
	blobs    map[string][]byte
	complete []runtime.StoredImage
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (s *shelf) put(content string) string {
	digest := digestOf([]byte(content))
	s.blobs[digest] = []byte(content)
	return digest
}

func (s *shelf) Images(context.Context) ([]runtime.StoredImage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.complete, nil
}

func (s *shelf) Missing(_ context.Context, digest string) ([]runtime.Blob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	manifest, ok := s.blobs[digest]
	if !ok {
		return []runtime.Blob{{Digest: digest}}, nil
	}
	var missing []runtime.Blob
	for _, layer := range strings.Fields(string(manifest)) {
		if _, ok := s.blobs[layer]; !ok {
			missing = append(missing, runtime.Blob{Digest: layer})
		}
	}
	return missing, nil
}

func (s *shelf) OpenBlob(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.blobs[digest]
	if !ok {
		return nil, 0, problem.New(problem.NotFound, digest, "it is not here")
	}
	return io.NopCloser(bytes.NewReader(content)), int64(len(content)), nil
}

func (s *shelf) WriteBlob(_ context.Context, blob runtime.Blob, r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if digestOf(content) != blob.Digest {
		return errors.New("the content has another digest")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[blob.Digest] = content
	return nil
}

func (s *shelf) Complete(_ context.Context, name, digest string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete = append(s.complete, runtime.StoredImage{Name: name, Digest: digest})
	return nil
}

func newShelf() *shelf { return &shelf{blobs: map[string][]byte{}} }

func serve(t *testing.T, handler http.Handler) (string, *http.Client) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "https://"), server.Client()
}

func fetcherFor(store *shelf, client *http.Client) *Fetcher {
	return &Fetcher{Store: store, Client: func() *http.Client { return client }, Logger: slog.New(slog.DiscardHandler)}
}

func TestImageComesFromTheNodeThatHasIt(t *testing.T) {
	there, here := newShelf(), newShelf()
	digest := there.put(there.put("layer one") + " " + there.put("layer two"))
	address, client := serve(t, Handler(there))
	if err := fetcherFor(here, client).Ensure(t.Context(), digest, "site.local/web:1", []string{address}); err != nil {
		t.Fatal(err)
	}
	if len(here.blobs) != 3 || len(here.complete) != 1 || here.complete[0].Name != "site.local/web:1" {
		t.Fatalf("%d blobs, complete %v", len(here.blobs), here.complete)
	}
}

func TestBlobWithWrongContentIsTakenFromAnotherNode(t *testing.T) {
	there, here := newShelf(), newShelf()
	digest := there.put(there.put("layer"))
	liar, client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("not it")) }))
	honest, _ := serve(t, Handler(there))
	if err := fetcherFor(here, client).Ensure(t.Context(), digest, "web", []string{liar, honest}); err != nil {
		t.Fatal(err)
	}
	if err := fetcherFor(newShelf(), client).Ensure(t.Context(), digest, "web", []string{liar}); problem.KindOf(err) != problem.Unavailable {
		t.Fatalf("a liar alone gave %v", err)
	}
}

func TestWithoutSourcesTheErrorSaysWhatToDo(t *testing.T) {
	err := fetcherFor(newShelf(), http.DefaultClient).Ensure(t.Context(), digestOf(nil), "site.local/web:1", nil)
	if problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "skerry image load") {
		t.Fatal(err)
	}
}

func TestHandlerRefusesWhatIsNoDigest(t *testing.T) {
	address, client := serve(t, Handler(newShelf()))
	for path, status := range map[string]int{
		"/blob/..%2f..%2fetc":                  http.StatusBadRequest,
		"/blob/sha256:00":                      http.StatusBadRequest,
		"/blob/" + digestOf([]byte("unknown")): http.StatusNotFound,
	} {
		response, err := client.Get("https://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%s: %s, want %d", path, response.Status, status)
		}
	}
}
