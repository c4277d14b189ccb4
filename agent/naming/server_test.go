package naming

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen on a port that is free for both protocols.
func listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		streams, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams
		}
		_ = packets.Close()
	}
	t.Fatal("no port is free")
	return nil, nil
}

// served runs a server on loopback until the test ends, and returns its address.
func served(t *testing.T, from string, change ...func(*Config)) string {
	t.Helper()
	packets, streams := listen(t)
	var opened atomic.Bool
	config := Config{
		Zone: newZone(), Clock: env.NewSystem().Clock, Logger: slog.New(slog.DiscardHandler),
		Listen: []func(context.Context) (runtime.DNSListener, error){func(context.Context) (runtime.DNSListener, error) {
			if opened.Swap(true) {
				return runtime.DNSListener{}, errors.New("it is in use")
			}
			return runtime.DNSListener{
				Packets: packets, Streams: streams, From: netip.MustParsePrefix(from), Gone: func() bool { return false },
			}, nil
		}},
	}
	for _, c := range change {
		c(&config)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(config).Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return packets.LocalAddr().String()
}

func exchange(t *testing.T, network, address, name string) (*dns.Msg, error) {
	t.Helper()
	client := &dns.Client{Net: network, Timeout: time.Minute}
	reply, _, err := client.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(name, dns.TypeA), address)
	return reply, err
}

func TestServerAnswersOverBothTransports(t *testing.T) {
	address := served(t, "127.0.0.0/8")
	for _, network := range []string{"udp", "tcp"} {
		reply, err := exchange(t, network, address, "web.shop.harbour.skerry.")
		if err != nil || len(reply.Answer) != 2 {
			t.Errorf("over %s: %v %v", network, reply, err)
		}
		if reply, err := exchange(t, network, address, "example.com."); err != nil || reply.Rcode != dns.RcodeRefused {
			t.Errorf("a name of somebody else over %s: %v %v", network, reply, err)
		}
	}
}

func TestServerAnswersNobodyElse(t *testing.T) {
	address := served(t, "10.88.0.0/16")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	packet, _ := new(dns.Msg).SetQuestion("web.shop.harbour.skerry.", dns.TypeA).Pack()
	if _, err := conn.Write(append([]byte{0, byte(len(packet))}, packet...)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 512)); err == nil {
		t.Errorf("somebody else got %d bytes", n)
	}
	_ = conn.Close()
}

func TestServerForwardsOnlyWhatNobodyElseMustNotKnow(t *testing.T) {
	var asked atomic.Int32
	upstream := served(t, "127.0.0.0/8", func(c *Config) { c.Zone = &Zone{Site: "quay", Names: site{}, Shuffle: c.Zone.Shuffle} })
	forwarder := &Forwarder{Servers: []string{upstream}, Env: env.NewSystem()}
	address := served(t, "127.0.0.0/8", func(c *Config) {
		c.Forward = func(ctx context.Context, q dns.Question, tcp bool) *dns.Msg {
			asked.Add(1)
			// The other server refuses: what comes back must be its refusal.
			return forwarder.Ask(ctx, q, tcp)
		}
	})
	for i, network := range []string{"udp", "tcp"} {
		reply, err := exchange(t, network, address, "example.com.")
		if err != nil || reply.Rcode != dns.RcodeRefused || !reply.RecursionAvailable || asked.Load() != int32(i+1) {
			t.Errorf("over %s: %v %v, asked %d times", network, reply, err, asked.Load())
		}
		for _, name := range []string{"nothing.shop.harbour.skerry.", "web.shop.quay.skerry."} {
			if reply, err := exchange(t, network, address, name); err != nil || reply.RecursionAvailable {
				t.Errorf("%s over %s: %v %v", name, network, reply, err)
			}
		}
	}
	if got := asked.Load(); got != 2 {
		t.Errorf("somebody else was asked %d times, for one name over two transports", got)
	}
}

func TestServerThatNobodyAnswersSaysSo(t *testing.T) {
	address := served(t, "127.0.0.0/8", func(c *Config) {
		c.Forward = func(context.Context, dns.Question, bool) *dns.Msg { return nil }
	})
	if reply, err := exchange(t, "udp", address, "example.com."); err != nil || reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v %v", reply, err)
	}
}

func TestServerGoesOnAfterAQuestionThatBreaksIt(t *testing.T) {
	var broken atomic.Bool
	address := served(t, "127.0.0.0/8", func(c *Config) {
		c.Zone.Shuffle = func(int, func(i, j int)) {
			if !broken.Swap(true) {
				panic("a bug")
			}
		}
	})
	if _, err := exchange(t, "tcp", address, "web.shop.harbour.skerry."); err == nil {
		t.Error("the question that broke it was answered")
	}
	if reply, err := exchange(t, "udp", address, "web.shop.harbour.skerry."); err != nil || len(reply.Answer) != 2 {
		t.Errorf("the next one: %v %v", reply, err)
	}
}

func TestServerThatCannotListenIsACondition(t *testing.T) {
	fails := func(context.Context) (runtime.DNSListener, error) {
		return runtime.DNSListener{}, errors.New("port 53 is in use")
	}
	s := New(Config{
		Zone: newZone(), Clock: env.NewSystem().Clock, Logger: slog.New(slog.DiscardHandler),
		Listen: []func(context.Context) (runtime.DNSListener, error){fails},
	})
	ctx, stop := context.WithCancel(t.Context())
	_, changed := s.Trouble()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-changed
	if trouble, _ := s.Trouble(); trouble != "port 53 is in use" {
		t.Errorf("the trouble is %q", trouble)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestOneContainerCannotTakeAllAnswers(t *testing.T) {
	s := New(Config{Zone: newZone(), Clock: env.NewSystem().Clock})
	at := runtime.DNSListener{From: netip.MustParsePrefix("10.88.0.0/16")}
	greedy := &net.UDPAddr{IP: net.IPv4(10, 88, 0, 2), Port: 1}
	for range limits.Running {
		if s.enter(at, greedy) == nil {
			t.Fatal("too few questions are let in")
		}
	}
	if s.enter(at, greedy) != nil {
		t.Error("one too many is let in")
	}
	if s.enter(at, &net.UDPAddr{IP: net.IPv4(10, 88, 0, 3), Port: 1}) == nil {
		t.Error("another container is kept out")
	}
	if s.enter(at, &net.UDPAddr{IP: net.IPv4(10, 99, 0, 3), Port: 1}) != nil {
		t.Error("somebody from elsewhere is let in")
	}
}
