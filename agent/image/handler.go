package image

import (
	"io"
	"net/http"
	"regexp"
	"strconv"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

const blobPath = "/blob/"

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Handler gives other nodes the blobs of a store: GET /blob/DIGEST. Who may ask
// is decided by whoever serves it.
func Handler(store runtime.ImageStore) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+blobPath+"{digest}", func(w http.ResponseWriter, r *http.Request) {
		digest := r.PathValue("digest")
		if !digestForm.MatchString(digest) {
			http.Error(w, "that is not a digest", http.StatusBadRequest)
			return
		}
		blob, size, err := store.OpenBlob(r.Context(), digest)
		if err != nil {
			status := http.StatusServiceUnavailable
			if problem.KindOf(err) == problem.NotFound {
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		defer func() { _ = blob.Close() }() // opened for reading only
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		// A copy that breaks off shows on the other side, which checks the digest.
		_, _ = io.Copy(w, blob)
	})
	return mux
}
