package image

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"

	"skerry.dev/agent/runtime"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/ticket"
)

const (
	blobPath = "/blob/"
	// imageHeader names the image that the blob is a part of, ticketHeader holds
	// what gives a right to it, in hex.
	imageHeader  = "Skerry-Image"
	ticketHeader = "Skerry-Ticket"
	// maxManifest bounds what is read to find out which blobs an image has.
	maxManifest = 8 << 20
)

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Gate decides which nodes get which images. It asks nobody: this node may be cut
// off.
type Gate struct {
	// Keys are what this node judges tickets by; none before the first orders.
	Keys func() [][]byte
	// Refused is told of each node that shows no right to an image.
	Refused func(peer certs.Peer, address, image string)
}

// Handler gives other nodes the blobs of a store: GET /blob/DIGEST.
func Handler(store runtime.ImageStore, gate Gate) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+blobPath+"{digest}", func(w http.ResponseWriter, r *http.Request) {
		digest, image := r.PathValue("digest"), r.Header.Get(imageHeader)
		if !digestForm.MatchString(digest) || !digestForm.MatchString(image) {
			http.Error(w, "that is not a digest, and the digest of its image", http.StatusBadRequest)
			return
		}
		if !gate.admits(r, image) {
			http.Error(w, "nothing that runs on your node, or is kept there, needs this image", http.StatusForbidden)
			return
		}
		blob, size, err := open(r.Context(), store, image, digest)
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

func (g Gate) admits(r *http.Request, image string) bool {
	peer, _ := mtls.PeerFrom(r.Context()) // the zero peer has no key
	shown, err := hex.DecodeString(r.Header.Get(ticketHeader))
	if err == nil && ticket.Valid(g.Keys(), peer.KeyFingerprint, image, shown) {
		return true
	}
	g.Refused(peer, r.RemoteAddr, image)
	return false
}

// open a blob if it is a part of the image: a right to one image is none to
// another.
func open(ctx context.Context, store runtime.ImageStore, image, digest string) (io.ReadCloser, int64, error) {
	if digest != image {
		parts, err := partsOf(ctx, store, image)
		if err != nil {
			return nil, 0, err
		}
		if !parts[digest] {
			return nil, 0, problem.New(problem.NotFound, digest, "it is no part of the image %s", image)
		}
	}
	return store.OpenBlob(ctx, digest)
}

// partsOf an image are the blobs that its manifest names.
func partsOf(ctx context.Context, store runtime.ImageStore, image string) (map[string]bool, error) {
	manifest, _, err := store.OpenBlob(ctx, image)
	if err != nil {
		return nil, err
	}
	defer func() { _ = manifest.Close() }() // opened for reading only
	type blob struct {
		Digest string `json:"digest"`
	}
	var named struct {
		Config blob   `json:"config"`
		Layers []blob `json:"layers"`
	}
	if err := json.NewDecoder(io.LimitReader(manifest, maxManifest)).Decode(&named); err != nil {
		return nil, problem.New(problem.Invalid, image, "its manifest cannot be read: %w", err)
	}
	parts := map[string]bool{named.Config.Digest: true}
	for _, layer := range named.Layers {
		parts[layer.Digest] = true
	}
	return parts, nil
}
