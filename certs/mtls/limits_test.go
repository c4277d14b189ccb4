package mtls

import (
	"testing"

	"golang.org/x/net/http2"
)

// A server keeps a buffer for the largest frame that it has sent on a
// connection: a stream that is open for weeks must not ask for large ones.
func TestStreamsAskForSmallFrames(t *testing.T) {
	for protocol, want := range map[string]uint32{Sync: minFrame, Content: maxFrame} {
		transport := (&Dialer{}).HTTPClient(protocol, ExpectNode("")).Transport.(*http2.Transport)
		if transport.MaxReadFrameSize != want {
			t.Errorf("%s asks for frames of %d bytes, want %d", protocol, transport.MaxReadFrameSize, want)
		}
	}
}
