package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"skerry.dev/agent/runtime"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/ticket"
)

// shelf is a store that knows only blobs.
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

// image of these layers.
func (s *shelf) image(layers ...string) string {
	type blob struct {
		Digest string `json:"digest"`
	}
	var manifest struct {
		Config blob   `json:"config"`
		Layers []blob `json:"layers"`
	}
	manifest.Config.Digest = s.put("config of " + strings.Join(layers, " and "))
	for _, layer := range layers {
		manifest.Layers = append(manifest.Layers, blob{s.put(layer)})
	}
	encoded, err := json.Marshal(manifest)
	if err != nil {
		panic(err)
	}
	return s.put(string(encoded))
}

var digests = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

func layersOf(manifest []byte) []string { return digests.FindAllString(string(manifest), -1) }

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
	for _, layer := range layersOf(manifest) {
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

// counter is a node that gives blobs, and whom it has refused what.
type counter struct {
	address string
	client  *http.Client
	mu      sync.Mutex
	refused []string
}

var (
	sourceKey = ticket.SourceKey(sum("site"), sum("the source"))
	asker     = certs.Peer{Role: certs.RoleNode, Name: "n2", KeyFingerprint: sum("n2")}
)

func sum(of string) []byte {
	s := sha256.Sum256([]byte(of))
	return s[:]
}

// serve the store to n2, as a node whose keys follow from these.
func serve(t *testing.T, store runtime.ImageStore, keys ...[]byte) *counter {
	t.Helper()
	c := &counter{}
	handler := Handler(store, Gate{
		Keys: func() [][]byte { return keys },
		Refused: func(peer certs.Peer, _, image string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.refused = append(c.refused, peer.Name+" "+image)
		},
	})
	c.address, c.client = listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(mtls.WithPeer(r.Context(), asker)))
	}))
	return c
}

func listen(t *testing.T, handler http.Handler) (string, *http.Client) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "https://"), server.Client()
}

// source with a ticket of n2 for an image.
func (c *counter) source(image string) Source {
	return Source{Address: c.address, Ticket: ticket.For(sourceKey, asker.KeyFingerprint, image)}
}

func fetcherFor(store *shelf, client *http.Client) *Fetcher {
	return &Fetcher{Store: NewShelf(store), Client: func() *http.Client { return client }, Logger: slog.New(slog.DiscardHandler)}
}

func TestImageComesFromTheNodeThatHasIt(t *testing.T) {
	there, here := newShelf(), newShelf()
	digest := there.image("layer one", "layer two")
	from := serve(t, there, sourceKey)
	if err := fetcherFor(here, from.client).Ensure(t.Context(), digest, "site.local/web:1", []Source{from.source(digest)}); err != nil {
		t.Fatal(err)
	}
	if len(here.blobs) != 4 || len(here.complete) != 1 || here.complete[0].Name != "site.local/web:1" || len(from.refused) > 0 {
		t.Fatalf("%d blobs, complete %v, refused %v", len(here.blobs), here.complete, from.refused)
	}
}

func TestBlobWithWrongContentIsTakenFromAnotherNode(t *testing.T) {
	there, here := newShelf(), newShelf()
	digest := there.image("layer")
	liar, client := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("not it")) }))
	honest := serve(t, there, sourceKey)
	if err := fetcherFor(here, client).Ensure(t.Context(), digest, "web", []Source{{Address: liar}, honest.source(digest)}); err != nil {
		t.Fatal(err)
	}
	if err := fetcherFor(newShelf(), client).Ensure(t.Context(), digest, "web", []Source{{Address: liar}}); problem.KindOf(err) != problem.Unavailable {
		t.Fatalf("a liar alone gave %v", err)
	}
}

func TestWhoShowsNoRightToAnImageIsRefused(t *testing.T) {
	there := newShelf()
	digest, other := there.image("layer"), there.image("another layer")
	stale := ticket.SourceKey(sum("the site long ago"), sum("the source"))
	for name, test := range map[string]struct {
		keys   [][]byte
		ticket []byte
	}{
		"no ticket":                            {[][]byte{sourceKey}, nil},
		"a ticket of another node":             {[][]byte{sourceKey}, ticket.For(sourceKey, sum("n3"), digest)},
		"a ticket for another image":           {[][]byte{sourceKey}, ticket.For(sourceKey, asker.KeyFingerprint, other)},
		"a ticket of a key that is gone":       {[][]byte{sourceKey}, ticket.For(stale, asker.KeyFingerprint, digest)},
		"a source that knows nothing yet":      {nil, ticket.For(sourceKey, asker.KeyFingerprint, digest)},
		"a ticket that is far too long":        {[][]byte{sourceKey}, make([]byte, 4096)},
		"a ticket for another source, by site": {[][]byte{sourceKey}, ticket.For(ticket.SourceKey(sum("site"), sum("n9")), asker.KeyFingerprint, digest)},
	} {
		t.Run(name, func(t *testing.T) {
			from, here := serve(t, there, test.keys...), newShelf()
			err := fetcherFor(here, from.client).Ensure(t.Context(), digest, "web", []Source{{Address: from.address, Ticket: test.ticket}})
			if problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "needs this image") {
				t.Errorf("it gave %v", err)
			}
			if len(here.blobs) > 0 || len(from.refused) != 1 || from.refused[0] != "n2 "+digest {
				t.Errorf("%d blobs came, refused: %v", len(here.blobs), from.refused)
			}
		})
	}
}

// get asks for a blob of an image, with a good ticket for that image.
func (c *counter) get(t *testing.T, path, image string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+c.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(imageHeader, image)
	request.Header.Set(ticketHeader, hex.EncodeToString(c.source(image).Ticket))
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close() // only the status matters
	return response.StatusCode
}

func TestARightToOneImageIsNoneToAnother(t *testing.T) {
	there := newShelf()
	digest, other := there.image("layer", "shared"), there.image("another layer", "shared")
	junk := there.put("no manifest")
	from := serve(t, there, sourceKey)
	for name, test := range map[string]struct {
		blob, image string
		status      int
	}{
		"the manifest":                     {digest, digest, http.StatusOK},
		"a layer":                          {digestOf([]byte("layer")), digest, http.StatusOK},
		"a layer that both have":           {digestOf([]byte("shared")), digest, http.StatusOK},
		"a layer of another image":         {digestOf([]byte("another layer")), digest, http.StatusNotFound},
		"the manifest of another image":    {other, digest, http.StatusNotFound},
		"of an image that is not here":     {digest, digestOf([]byte("elsewhere")), http.StatusNotFound},
		"of something that is no manifest": {digest, junk, http.StatusServiceUnavailable},
		"what is no digest":                {"..%2f..%2fetc", digest, http.StatusBadRequest},
		"a short digest":                   {"sha256:00", digest, http.StatusBadRequest},
		"no image":                         {digest, "", http.StatusBadRequest},
		"an image that is no digest":       {digest, "web:1", http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			if status := from.get(t, "/blob/"+test.blob, test.image); status != test.status {
				t.Errorf("%d, want %d", status, test.status)
			}
		})
	}
}

func TestWithoutSourcesTheErrorSaysWhatToDo(t *testing.T) {
	err := fetcherFor(newShelf(), http.DefaultClient).Ensure(t.Context(), digestOf(nil), "site.local/web:1", nil)
	if problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "skerry image load") {
		t.Fatal(err)
	}
}

func FuzzPartsOf(f *testing.F) {
	store := newShelf()
	f.Add(store.blobs[store.image("layer one", "layer two")])
	f.Add([]byte(`{"config":{"digest":""},"layers":[{},{"digest":"sha256:00"}]}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, manifest []byte) {
		there := newShelf()
		parts, err := partsOf(t.Context(), there, there.put(string(manifest)))
		if err == nil && len(parts) == 0 {
			t.Error("an image without parts")
		}
	})
}

// RemoveImage forgets the image, once gate lets it.
type slow struct {
	*shelf
	began, gate chan struct{}
}

func (s *slow) RemoveImage(_ context.Context, digest string) error {
	close(s.began)
	<-s.gate
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.blobs)
	s.complete = nil
	return nil
}

func TestWhatIsAssignedWhileItIsRemovedIsFetchedAgain(t *testing.T) {
	there, here := newShelf(), &slow{shelf: newShelf(), began: make(chan struct{}), gate: make(chan struct{})}
	digest := there.image("layer")
	from := serve(t, there, sourceKey)
	store := NewShelf(here)
	f := &Fetcher{Store: store, Client: func() *http.Client { return from.client }, Logger: slog.New(slog.DiscardHandler)}
	ensure := func() error { return f.Ensure(t.Context(), digest, "web", []Source{from.source(digest)}) }
	if err := ensure(); err != nil {
		t.Fatal(err)
	}
	store.TakeFresh()
	gone, fetched := make(chan error, 1), make(chan error, 1)
	before := store.Removed()
	go func() { gone <- store.Remove(t.Context(), digest, func() bool { return true }) }()
	<-here.began
	go func() { fetched <- ensure() }() // the assignment comes now
	if store.Removed() == before {
		t.Error("whoever looks now does not see that something goes")
	}
	close(here.gate)
	if err := errors.Join(<-gone, <-fetched); err != nil {
		t.Fatal(err)
	}
	if len(here.complete) != 1 || len(here.blobs) != 3 {
		t.Errorf("of the image is here: %v, %d blobs", here.complete, len(here.blobs))
	}
}

func TestWhatIsNeededAgainIsNotRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		before func(s *Shelf) (after func())
		may    bool
	}{
		"an assignment has come":   {func(*Shelf) func() { return func() {} }, false},
		"it was loaded again":      {func(s *Shelf) func() { s.refresh("sha256:a"); return func() {} }, true},
		"something is fetched now": {func(s *Shelf) func() { s.using.RLock(); return s.using.RUnlock }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewShelf(newShelf()) // which cannot remove
			defer test.before(s)()
			if err := s.Remove(t.Context(), "sha256:a", func() bool { return test.may }); problem.KindOf(err) != problem.Conflict {
				t.Error(err)
			}
		})
	}
}
