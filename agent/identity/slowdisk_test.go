package identity

import (
	"os"
	"testing"
	"time"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
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
	longer := func(n *Node) []*sitev1.TrustVersion {
		chain := n.Trust()
		version, err := certs.ExtendTrust(chain[len(chain)-1], n.Authority(), certs.TrustChange{NextEra: true})
		if err != nil {
			t.Fatal(err)
		}
		return append(chain[:len(chain):len(chain)], version)
	}
	for _, test := range []struct {
		name  string
		write func(*Node, *Operator) error
	}{
		{"a longer chain of trust", func(n *Node, _ *Operator) error { return n.UpdateTrust(longer(n)) }},
		{"a new SVID", func(n *Node, _ *Operator) error { return n.Renewed(n.Certificate().Certificate) }},
		{"a new CA", func(n *Node, _ *Operator) error { return n.RotateAuthority(1, 0) }},
		{"a longer chain of trust, by an operator", func(n *Node, o *Operator) error { return o.UpdateTrust(longer(n)) }},
		{"a new SVID of an operator", func(_ *Node, o *Operator) error { return o.Renewed(o.Certificate().Certificate) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, o := beginWithOperator(t, "reef")
			disk := &stuck{FS: n.fs, begun: make(chan struct{}), letGo: make(chan struct{})}
			n.fs, o.files = disk, disk
			written, read := make(chan error, 1), make(chan struct{})
			go func() { written <- test.write(n, o) }()
			<-disk.begun
			go func() {
				defer close(read)
				_, _, _, _ = n.Bundle(), n.Certificate(), n.Trust(), n.Authority()
				_, _ = o.Bundle(), o.Certificate()
			}()
			select {
			case <-read:
			case <-time.After(time.Minute):
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
