package hostile

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"skerry.dev/certs/mtls"
)

// Images are given to nodes that show a right to them. Neither the certificate of
// a node nor a well-formed question is one.
func TestNobodyFetchesAnImageWithoutARightToIt(t *testing.T) {
	s := startSite(t)
	digest := "sha256:" + strings.Repeat("a", 64)
	right := func(more ...string) http.Header {
		h := http.Header{"Skerry-Image": {digest}, "Skerry-Ticket": {strings.Repeat("00", 16)}}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = []string{more[i+1]}
		}
		return h
	}
	workload := s.forge(t, "spiffe://"+siteName+"/workload/default/web", nil)
	node := s.forge(t, "spiffe://"+siteName+"/node/node-9", nil)
	const denied = "needs this image"
	for _, c := range []struct {
		name, method, path string
		as                 tls.Certificate
		header             http.Header
		want               []string
	}{
		{"a node without a ticket", "GET", "/blob/" + digest, s.node, http.Header{"Skerry-Image": {digest}}, []string{denied}},
		{"a node with a ticket of nothing", "GET", "/blob/" + digest, s.node, right(), []string{denied}},
		{"a ticket that is no hex", "GET", "/blob/" + digest, s.node, right("Skerry-Ticket", "let me in"), []string{denied}},
		{"a ticket of 16 KiB", "GET", "/blob/" + digest, s.node, right("Skerry-Ticket", strings.Repeat("00", 8<<10)), []string{denied}},
		{"no image", "GET", "/blob/" + digest, s.node, right("Skerry-Image", ""), []string{"not a digest"}},
		{"an image that is a name", "GET", "/blob/" + digest, s.node, right("Skerry-Image", "site.local/web:1"), []string{"not a digest"}},
		{"a blob that is a path", "GET", "/blob/..%2f..%2fetc%2fshadow", s.node, right(), []string{"not a digest"}},
		{"a blob of 8 KiB", "GET", "/blob/sha256:" + strings.Repeat("a", 8<<10), s.node, right(), []string{"not a digest"}},
		{"a list of all blobs", "GET", "/blob/", s.node, right(), []string{"not found", "not a digest"}},
		{"to put one there", "PUT", "/blob/" + digest, s.node, right(), []string{"Method Not Allowed"}},
		{"a certificate that somebody with a CA's key made", "GET", "/blob/" + digest, node, right(), []string{denied}},
		{"an operator", "GET", "/blob/" + digest, s.admin, right(), []string{"a node was expected", "bad certificate"}},
		{"a workload", "GET", "/blob/" + digest, workload, right(), []string{"a node was expected", "bad certificate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.judge(t, func(t *testing.T) {
				mark := s.log.size()
				said := s.ask(c.as, c.method, c.path, c.header)
				s.logged(t, mark, said, c.want...)
			})
		})
	}
}

// ask on the protocol for images; what was said, whatever that is.
func (s *site) ask(as tls.Certificate, method, path string, header http.Header) string {
	transport := speaking(mtls.Content, as)
	defer transport.CloseIdleConnections()
	request, err := http.NewRequest(method, "https://"+s.address+path, nil)
	if err != nil {
		return err.Error()
	}
	request.Header = header
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err.Error()
	}
	return response.Status + " " + string(body)
}
