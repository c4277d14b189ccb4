//go:build integration

package hosts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestARigThatIsUsedIsLeftAlone(t *testing.T) {
	options := Options{Name: "taken", Dir: "/tmp/skerry-taken"}
	first, err := New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.AddHost(t.Context(), "node-1", "node-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), options); err == nil || !strings.Contains(err.Error(), "another process uses the rig taken") {
		t.Errorf("a second one of its name: %v", err)
	}
	if _, err := os.Stat("/run/netns/" + first.Hosts[0].namespace); err != nil {
		t.Errorf("the first one's host is gone: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := New(t.Context(), options)
	if err != nil {
		t.Fatalf("when it is free: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestLinesAreImpaired sends through lines as they are, late and thin. The hosts
// need no power for it.
func TestLinesAreImpaired(t *testing.T) {
	r, err := New(t.Context(), Options{Name: "relay", Dir: "/tmp/skerry-relay"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("the rig left something behind: %v", err)
		}
	})
	for _, name := range []string{"node-1", "node-2"} {
		if _, err := r.AddHost(t.Context(), name, name); err != nil {
			t.Fatal(err)
		}
	}
	a, b := r.Hosts[0], r.Hosts[1]
	listener, err := namespaceNet{b.namespace}.Listen(t.Context(), "tcp", net.JoinHostPort(b.Address, "9000"))
	if err != nil {
		t.Fatal(err)
	}
	go echoDigests(listener)
	t.Cleanup(func() { _ = listener.Close() })
	// send so many bytes from a to b and wait for their digest.
	send := func(size int) time.Duration {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		begun := time.Now()
		conn, err := namespaceNet{a.namespace}.Dial(ctx, "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		content := bytes.Repeat([]byte("skerry"), size/6)
		if _, err := conn.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(conn)
		if want := sha256.Sum256(content); err != nil || !bytes.Equal(got, want[:]) {
			t.Fatalf("it arrived as %x: %v", got, err)
		}
		return time.Since(begun)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	send(1 << 20)
	must(a.Impair(t.Context(), Link{Delay: 100 * time.Millisecond, Jitter: 50 * time.Millisecond, Twice: 100}))
	// The handshake and the answer: two ways there and back.
	if took := send(600); took < 300*time.Millisecond {
		t.Errorf("a late line took %s", took)
	}
	must(r.Heal(t.Context()))
	must(a.Impair(t.Context(), Link{Rate: 100_000}))
	if took := send(150_000); took < time.Second {
		t.Errorf("150 kB at 100 kB/s took %s", took)
	}
	must(r.Heal(t.Context()))
	must(b.Lose(t.Context(), 100))
	send(60_000)
	must(r.Heal(t.Context()))
	if took := send(600); took > 5*time.Second {
		t.Errorf("a line that is mended took %s", took)
	}
}

func echoDigests(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		content, _ := io.ReadAll(conn) // the digest tells
		digest := sha256.Sum256(content)
		_, _ = conn.Write(digest[:])
		_ = conn.Close()
	}
}
