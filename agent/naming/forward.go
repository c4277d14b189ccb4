package naming

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"

	"skerry.dev/shared/env"
)

// forwardTime bounds one server's answer.
const forwardTime = 1500 * time.Millisecond

// Forwarder asks the servers that the node's configuration names, in turn.
type Forwarder struct {
	// Servers are host:port.
	Servers []string
	Env     env.System
}

// Ask implements Forward. Nothing but the question leaves the node. nil is no
// answer.
func (f *Forwarder) Ask(ctx context.Context, question dns.Question, tcp bool) *dns.Msg {
	for _, server := range f.Servers {
		if answer := f.ask(ctx, server, question, tcp); answer != nil {
			return answer
		}
	}
	return nil
}

func (f *Forwarder) ask(ctx context.Context, server string, question dns.Question, tcp bool) *dns.Msg {
	network := "udp"
	if tcp {
		network = "tcp"
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	conn, err := f.Env.Net.Dial(ctx, network, server)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // it ends the read
	defer stop()
	query := (&dns.Msg{}).SetQuestion(question.Name, question.Qtype)
	query.Id = uint16(f.Env.Rand.Uint64())
	query.SetEdns0(maxUDP, false)
	packet, err := query.Pack()
	if err != nil {
		return nil
	}
	return exchangeWith(conn, packet, query, tcp)
}

// exchangeWith sends the question and waits for its answer; what is not its
// answer is passed over.
func exchangeWith(conn net.Conn, packet []byte, query *dns.Msg, tcp bool) *dns.Msg {
	if tcp {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		return nil
	}
	buffer := make([]byte, dns.MaxMsgSize)
	for range 10 {
		n, err := readMessage(conn, buffer, tcp)
		if err != nil {
			return nil
		}
		answer := &dns.Msg{}
		if answer.Unpack(buffer[:n]) == nil && answer.Response && answer.Id == query.Id &&
			len(answer.Question) == 1 && sameQuestion(answer.Question[0], query.Question[0]) {
			return answer
		}
	}
	return nil
}

func readMessage(conn net.Conn, buffer []byte, tcp bool) (int, error) {
	if !tcp {
		return conn.Read(buffer)
	}
	if _, err := io.ReadFull(conn, buffer[:2]); err != nil {
		return 0, err
	}
	return io.ReadFull(conn, buffer[:binary.BigEndian.Uint16(buffer)])
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && dns.CanonicalName(a.Name) == dns.CanonicalName(b.Name)
}

// merge puts what somebody else answered, nil for nothing, into our reply.
func merge(reply, from *dns.Msg) *dns.Msg {
	if from == nil {
		reply.Rcode = dns.RcodeServerFailure
		return reply
	}
	reply.Rcode, reply.RecursionAvailable, reply.Truncated = from.Rcode, true, from.Truncated
	reply.Answer, reply.Ns = from.Answer, from.Ns
	for _, r := range from.Extra {
		if r.Header().Rrtype != dns.TypeOPT {
			reply.Extra = append(reply.Extra, r)
		}
	}
	return reply
}
