package hostile

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"skerry.dev/certs/mtls"
)

// slowTime is more than any client may spend on saying what it wants.
const slowTime = 20 * time.Second

// Clients that say little, and slowly, hold a connection each; the site gives
// them up in bounded time and answers everybody else meanwhile.
func TestSlowClientsAreGivenUpAndOthersAreServed(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the site's timeouts")
	}
	s := startSite(t)
	attacks := []struct {
		name string
		open func(t *testing.T) net.Conn
		// drip is written once a second after the beginning; nothing if empty.
		begin, drip string
	}{
		{"they connect and say nothing", s.plain, "", ""},
		{"they send a hello byte by byte", s.plain, "\x16", "\x03"},
		{"they say nothing after the handshake", s.secured, "", ""},
		{"they send headers byte by byte", s.secured, "POST /skerry.v1.ResourceService/List HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n"},
		{"they never end the first line", s.secured, "POST /", "a"},
	}
	var waiting sync.WaitGroup
	for _, c := range attacks {
		for range 20 {
			conn := c.open(t)
			t.Cleanup(func() { _ = conn.Close() })
			if _, err := io.WriteString(conn, c.begin); err != nil {
				t.Fatal(err)
			}
			waiting.Go(func() {
				if err := givenUp(conn, c.drip, time.Now().Add(slowTime)); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			})
		}
	}
	// On a machine that does much else a single one may be slow.
	fastest := time.Hour
	for try := 0; try < 5 && fastest > maxRefusal; try++ {
		began := time.Now()
		if got, err := s.call(s.admin, "ResourceService/List", `{"kind":"Node"}`); err != nil || got.status != http.StatusOK {
			t.Errorf("meanwhile an operator got: %v %+v", err, got)
		}
		fastest = min(fastest, time.Since(began))
	}
	if fastest > maxRefusal {
		t.Errorf("meanwhile an operator waited %s", fastest)
	}
	waiting.Wait()
}

// givenUp drips until the other side has closed the connection.
func givenUp(conn net.Conn, drip string, until time.Time) error {
	buffer := make([]byte, 1024)
	for time.Now().Before(until) {
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		_, err := conn.Read(buffer)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil // closed, by a reset or in order
		}
		if drip == "" {
			continue
		}
		if _, err := io.WriteString(conn, drip); err != nil {
			return nil // closed
		}
	}
	return fmt.Errorf("a connection that says nothing is still open after %s", slowTime)
}

func (s *site) plain(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (s *site) secured(t *testing.T) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{mtls.API1}, Certificates: []tls.Certificate{s.admin},
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
