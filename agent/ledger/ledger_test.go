package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// disk is the real one, but may be full.
type disk struct {
	env.FS
	full bool
}

func (d *disk) WriteFile(name string, data []byte, perm os.FileMode) error {
	if d.full {
		return errors.New("no space left on device")
	}
	return d.FS.WriteFile(name, data, perm)
}

func orders(epoch, term, index uint64) *sitev1.Assignments {
	return &sitev1.Assignments{
		Order:      &sitev1.Order{SiteEpoch: epoch, Term: term, Index: index},
		Placements: []*skerryv1.Placement{{Name: fmt.Sprintf("web-%d-%d-%d", epoch, term, index)}},
	}
}

func open(t testing.TB, files env.FS, dir string) *Ledger {
	t.Helper()
	l, err := Open(files, dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLowerOrdersAreRefused(t *testing.T) {
	for _, test := range []struct {
		name    string
		orders  *sitev1.Assignments
		refused bool
	}{
		{"the same order again", orders(2, 5, 100), false},
		{"a later index", orders(2, 5, 101), false},
		{"a later term, though its index is lower", orders(2, 6, 1), false},
		{"a later epoch, though its term is lower", orders(3, 1, 1), false},
		{"an earlier index", orders(2, 5, 99), true},
		{"an earlier term, though its index is higher", orders(2, 4, 900), true},
		{"an earlier epoch, though its term is higher", orders(1, 90, 900), true},
		{"none at all", &sitev1.Assignments{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, files := t.TempDir(), env.NewSystem().FS
			l := open(t, files, dir)
			if l.Current() != nil {
				t.Fatal("a new ledger has orders")
			}
			first := orders(2, 5, 100)
			if err := l.Accept(first); err != nil {
				t.Fatal(err)
			}
			changed, want := l.Changed(), test.orders
			if test.refused {
				want = first
			}
			if err := l.Accept(test.orders); test.refused != (problem.KindOf(err) == problem.Conflict && err != nil) {
				t.Errorf("it gave %v, refused is wanted: %t", err, test.refused)
			}
			select {
			case <-changed:
				if test.refused {
					t.Error("a change was told")
				}
			default:
				if !test.refused {
					t.Error("no change was told")
				}
			}
			if got := open(t, files, dir).Current(); !proto.Equal(got, want) || !proto.Equal(l.Current(), want) {
				t.Errorf("after a restart the orders are %v, want %v", got, want)
			}
		})
	}
}

func TestOrdersThatCannotBeKeptAreNotFollowed(t *testing.T) {
	dir, files := t.TempDir(), &disk{FS: env.NewSystem().FS}
	l := open(t, files, dir)
	if err := l.Accept(orders(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	files.full = true
	changed := l.Changed()
	if err := l.Accept(orders(1, 1, 2)); err == nil {
		t.Error("they were accepted")
	}
	select {
	case <-changed:
		t.Error("a change was told")
	default:
	}
	for name, ledger := range map[string]*Ledger{"now": l, "after a restart": open(t, files, dir)} {
		if got := ledger.Current(); !proto.Equal(got, orders(1, 1, 1)) {
			t.Errorf("%s the orders are %v", name, got)
		}
	}
	files.full = false
	if err := l.Accept(orders(1, 1, 2)); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestDamagedLedgerIsNotTakenForANewOne(t *testing.T) {
	dir, files := t.TempDir(), env.NewSystem().FS
	if err := open(t, files, dir).Accept(orders(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ledger", ordersFile), []byte{0xFF}, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(files, dir); err == nil {
		t.Error("it was opened")
	}
}

func TestEveryDamageIsNoticedAndTheBookOutlivesTheOrders(t *testing.T) {
	dir, files := t.TempDir(), env.NewSystem().FS
	given := orders(1, 1, 1)
	given.Site, given.Peers = "harbour", []*sitev1.Peer{{Name: "node-2", Address: "192.0.2.2:7600"}}
	if err := open(t, files, dir).Accept(given); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ledger", ordersFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(files, dir); err == nil {
			t.Fatalf("cut to %d of %d bytes it was opened", cut, len(whole))
		}
		flipped := slices.Clone(whole)
		flipped[cut] ^= 1
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(files, dir); err == nil {
			t.Fatalf("with byte %d changed it was opened", cut)
		}
	}
	// As the hint says: moved away, the node still knows whom to ask.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	book := open(t, files, dir).Current()
	if book.GetOrder() != nil || len(book.GetPlacements()) != 0 || book.GetSite() != "harbour" || len(book.GetPeers()) != 1 {
		t.Errorf("without orders the ledger is %v", book)
	}
}

// TestOrderNeverFalls: whatever comes, and however often the agent restarts.
func TestOrderNeverFalls(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		dir, files := filepath.Join(base, fmt.Sprint(runs)), &disk{FS: env.NewSystem().FS}
		l := open(t, files, dir)
		var highest *sitev1.Order
		for range rapid.IntRange(1, 12).Draw(r, "events") {
			switch rapid.IntRange(0, 5).Draw(r, "event") {
			case 0:
				l = open(t, files, dir)
			case 1:
				files.full = !files.full
			default:
				next := rapid.Uint64Range(0, 2)
				given := orders(next.Draw(r, "epoch"), next.Draw(r, "term"), next.Draw(r, "index"))
				if err := l.Accept(given); err == nil {
					if Lower(given.GetOrder(), highest) {
						r.Fatalf("%v was accepted after %v", given.GetOrder(), highest)
					}
					highest = given.GetOrder()
				}
			}
			if !proto.Equal(l.Current().GetOrder(), highest) {
				r.Fatalf("the order is %v, want %v", l.Current().GetOrder(), highest)
			}
		}
	})
}

func TestEndpointsAreKeptAndDamageIsNoHarm(t *testing.T) {
	dir, files := t.TempDir(), env.NewSystem().FS
	if got := open(t, files, dir).Endpoints(); got != nil {
		t.Fatalf("a new ledger has %v", got)
	}
	want := &sitev1.EndpointCopy{Order: &sitev1.Order{Term: 3}, Endpoints: []*skerryv1.Endpoint{{Placement: "web-1"}}}
	if err := open(t, files, dir).KeepEndpoints(want); err != nil {
		t.Fatal(err)
	}
	if got := open(t, files, dir).Endpoints(); !proto.Equal(got, want) {
		t.Errorf("what was kept is %v", got)
	}
	path := filepath.Join(dir, "ledger", endpointsFile)
	for _, damaged := range [][]byte{nil, []byte("short"), make([]byte, 100)} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := open(t, files, dir).Endpoints(); got != nil {
			t.Errorf("%d damaged bytes are %v", len(damaged), got)
		}
	}
}
