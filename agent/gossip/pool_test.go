package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"skerry.dev/shared/env"
)

func testKey(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// member of a pool on loopback that knows the others.
type member struct {
	*Pool
	name, address string
}

// freeAddress has a port that is free now for TCP and UDP, and none of those
// that the kernel gives to others meanwhile.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", address)
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

func open(t *testing.T, name string, book *atomic.Pointer[[]Peer], keys ...[]byte) *member {
	t.Helper()
	m := &member{name: name, address: freeAddress(t)}
	pool, err := Open(Config{
		Name: name, Address: m.address, Keys: keys, Changed: func(string, bool) {},
		Book: func() []Peer { return *book.Load() },
		Env:  env.NewSystem(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Pool = pool
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return m
}

func (m *member) sees(t *testing.T, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !slices.Equal(m.Alive(), want) {
		if env.Sleep(ctx, env.NewSystem().Clock, 20*time.Millisecond) != nil {
			t.Fatalf("%s sees %v, want %v", m.name, m.Alive(), want)
		}
	}
}

// TestARotationKeepsThePoolAndLeavesOutWhoHasTheOldKey goes through the steps
// of a rotation, member after member, as their orders come.
func TestARotationKeepsThePoolAndLeavesOutWhoHasTheOldKey(t *testing.T) {
	before, after := testKey(1), testKey(2)
	var book atomic.Pointer[[]Peer]
	book.Store(&[]Peer{})
	a, b := open(t, "a", &book, before), open(t, "b", &book, before)
	book.Store(&[]Peer{{"a", a.address}, {"b", b.address}})
	a.sees(t, "a", "b")
	b.sees(t, "a", "b")
	for _, keys := range [][][]byte{{before, after}, {after, before}, {after}} {
		for _, m := range []*member{a, b} {
			if err := m.SetKeys(keys); err != nil {
				t.Fatal(err)
			}
			if got := m.ring.GetKeys(); fmt.Sprint(got) != fmt.Sprint(keys) {
				t.Fatalf("the keys are %v, want %v", got, keys)
			}
			// They understand each other also when one is a step ahead.
			for _, from := range []*member{a, b} {
				if _, err := from.list.Join([]string{a.address, b.address}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	evicted := open(t, "evicted", &book, before)
	if _, err := evicted.list.Join([]string{a.address}); err == nil {
		t.Error("the old key still opens the pool")
	}
	if _, err := a.list.Join([]string{evicted.address}); err == nil {
		t.Error("the new key was told to somebody who has the old one")
	}
	a.sees(t, "a", "b")
}

func TestBadKeysAreRefused(t *testing.T) {
	var book atomic.Pointer[[]Peer]
	book.Store(&[]Peer{})
	a := open(t, "a", &book, testKey(1))
	if err := a.SetKeys([][]byte{{1, 2, 3}}); err == nil {
		t.Error("a key of three bytes was taken")
	}
	if _, err := Open(Config{Name: "b", Address: "nowhere", Keys: [][]byte{testKey(1)}}); err == nil || errors.Is(err, context.Canceled) {
		t.Error("an address without a port was taken")
	}
}
