package identity

import (
	"os"
	"testing"
	"time"

	"skerry.dev/certs"
	"skerry.dev/shared/env"
)

// stuck is a disk on which one write hangs until it is let go.
type stuck struct {
	env.FS
	begun, letGo chan struct{}
}

func (s *stuck) WriteFile(name string, data []byte, perm os.FileMode) error {
	select {
	case s.begun <- struct{}{}:
		<-s.letGo
	case <-s.letGo:
	}
	return s.FS.WriteFile(name, data, perm)
}

// Each handshake reads what is believed: a disk that is slow or hangs must not
// end all calls.
func TestNobodyWaitsForTheDiskToReadWhatIsBelieved(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(*Node) error
	}{
		{"a longer chain of trust", func(n *Node) error {
			chain := n.Trust()
			version, err := certs.ExtendTrust(chain[len(chain)-1], n.Authority(), certs.TrustChange{NextEra: true})
			if err != nil {
				return err
			}
			return n.UpdateTrust(append(chain[:len(chain):len(chain)], version))
		}},
		{"a new SVID", func(n *Node) error { return n.Renewed(n.Certificate().Certificate) }},
		{"a new CA", func(n *Node) error { return n.RotateAuthority(1, 0) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := begin(t, "reef")
			disk := &stuck{FS: n.fs, begun: make(chan struct{}), letGo: make(chan struct{})}
			n.fs = disk
			written, read := make(chan error, 1), make(chan struct{})
			go func() { written <- test.write(n) }()
			<-disk.begun
			go func() {
				defer close(read)
				_, _, _, _ = n.Bundle(), n.Certificate(), n.Trust(), n.Authority()
			}()
			select {
			case <-read:
			case <-time.After(10 * time.Second):
				t.Error("whoever reads waits for the disk")
			}
			close(disk.letGo)
			if err := <-written; err != nil {
				t.Error(err)
			}
			<-read
		})
	}
}
