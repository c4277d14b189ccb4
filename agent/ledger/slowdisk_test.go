package ledger

import (
	"os"
	"testing"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

// stuck is a disk on which writes hang until they are let go.
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

// What runs under a lease asks the ledger before each renewal: a disk that is slow must
// not end it.
func TestNobodyWaitsForTheDiskToReadTheOrders(t *testing.T) {
	for name, change := range map[string]func(*Ledger) error{
		"new orders": func(l *Ledger) error { return l.Accept(orders(1, 1, 2)) },
		"site time":  func(l *Ledger) error { return l.KeepTime(sitetime.FromMessage(&sitev1.SiteClock{Era: 7})) },
		"what began": func(l *Ledger) error { return l.KeepBegun([]string{"default.plc-1"}) },
	} {
		t.Run(name, func(t *testing.T) {
			disk := &stuck{FS: env.NewSystem().FS, begun: make(chan struct{}), letGo: make(chan struct{})}
			l := open(t, disk.FS, t.TempDir())
			if err := l.Accept(orders(1, 1, 1)); err != nil {
				t.Fatal(err)
			}
			l.files = disk
			written, read := make(chan error, 1), make(chan struct{})
			go func() { written <- change(l) }()
			<-disk.begun
			go func() {
				defer close(read)
				_, _, _ = l.Changed(), l.Time(), l.Begun()
				if got := l.Current().GetOrder().GetIndex(); got != 1 {
					t.Errorf("order %d is believed before it is on the disk", got)
				}
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
