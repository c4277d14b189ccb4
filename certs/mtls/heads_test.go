package mtls

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"
)

// sink takes what goes out.
type sink struct {
	net.Conn
	packets []string
	err     error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.packets = append(s.packets, string(p))
	return len(p), nil
}

func (s *sink) SetWriteDeadline(time.Time) error     { return nil }
func (s *sink) Close() error                         { return nil }
func (s *sink) ConnectionState() tls.ConnectionState { return tls.ConnectionState{} }

// frames of one write.
func frames(write func(*http2.Framer) error) []byte {
	var out bytes.Buffer
	if err := write(http2.NewFramer(&out, nil)); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func head(endStream bool) []byte {
	return frames(func(f *http2.Framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("head"), EndHeaders: true, EndStream: endStream})
	})
}

func body(size int) []byte {
	return frames(func(f *http2.Framer) error { return f.WriteData(1, true, make([]byte, size)) })
}

func TestAHeadGoesOutWithItsBody(t *testing.T) {
	for name, test := range map[string]struct {
		writes  [][]byte
		packets int
	}{
		"a head and its body":             {[][]byte{head(false), body(100)}, 1},
		"an answer without a body":        {[][]byte{head(true)}, 1},
		"a setting, then a head":          {[][]byte{append(frames((*http2.Framer).WriteSettingsAck), head(false)...), body(9)}, 1},
		"two heads and a body":            {[][]byte{head(false), head(false), body(9)}, 1},
		"a head and a large body":         {[][]byte{head(false), body(maxHeld)}, 2},
		"a body alone":                    {[][]byte{body(9)}, 1},
		"a head that is not complete":     {[][]byte{head(false)[:11], head(false)[11:]}, 2},
		"a head whose body does not come": {[][]byte{head(false)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &sink{}
				conn := withHeads(out)
				for _, write := range test.writes {
					if n, err := conn.Write(write); n != len(write) || err != nil {
						t.Fatalf("wrote %d of %d: %v", n, len(write), err)
					}
				}
				conn.mu.Lock()
				if len(out.packets) != test.packets {
					t.Errorf("%d packets, want %d", len(out.packets), test.packets)
				}
				conn.mu.Unlock()
				time.Sleep(2 * headWait)
				synctest.Wait()
				conn.mu.Lock()
				defer conn.mu.Unlock()
				if len(conn.held) != 0 {
					t.Error("something never went out")
				}
			})
		})
	}
}

func TestNothingIsLostOrTurnedRoundByHoldingHeads(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			out := &sink{}
			conn := withHeads(out)
			var want bytes.Buffer
			for range rapid.IntRange(0, 20).Draw(rt, "writes") {
				p := rapid.SampledFrom([][]byte{head(false), head(true), body(1), body(5000), []byte("PRI * HTTP/2.0"), {0}}).Draw(rt, "p")
				want.Write(p)
				if _, err := conn.Write(p); err != nil {
					rt.Fatal(err)
				}
				if rapid.Bool().Draw(rt, "pause") {
					time.Sleep(2 * headWait)
					synctest.Wait()
				}
			}
			time.Sleep(2 * headWait)
			synctest.Wait()
			var got string
			for _, packet := range out.packets {
				got += packet
			}
			if got != want.String() {
				rt.Fatal("other bytes came out than went in")
			}
		})
	})
}

func TestAHeadThatCouldNotGoOutIsTheErrorOfTheNextWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		conn := withHeads(&sink{err: broken})
		if _, err := conn.Write(head(false)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * headWait)
		synctest.Wait()
		if _, err := conn.Write(body(9)); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	})
}
