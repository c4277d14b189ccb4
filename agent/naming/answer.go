package naming

import (
	"context"
	"slices"

	"github.com/miekg/dns"
)

const (
	// minSize of a question: its header.
	minSize = 12
	// maxUDP bounds what goes out in one packet: it fits through any network
	// without fragments.
	maxUDP = 1232
	// maxQuestion bounds what is read of a question.
	maxQuestion = 4096
)

// Forward asks somebody else, with a message of our own.
type Forward func(ctx context.Context, question dns.Question, tcp bool) *dns.Msg

// reply to one packet: what to send, nil for nothing. elsewhere is set when
// somebody else must be asked first.
func (z *Zone) reply(packet []byte, tcp bool) (answer *dns.Msg, elsewhere bool) {
	query := &dns.Msg{}
	if len(packet) < minSize {
		return nil, false
	}
	if err := query.Unpack(packet); err != nil {
		return refuse(packet, dns.RcodeFormatError), false
	}
	if query.Response {
		return nil, false // whoever sends answers gets none
	}
	reply := (&dns.Msg{}).SetReply(query)
	reply.RecursionDesired = query.RecursionDesired
	reply.Rcode = z.rcode(query)
	if opt := query.IsEdns0(); opt != nil {
		reply.SetEdns0(maxUDP, false)
		if opt.Version() != 0 {
			reply.Rcode = dns.RcodeBadVers
		}
	}
	if reply.Rcode != dns.RcodeSuccess {
		return reply, false
	}
	q := query.Question[0]
	if !z.Holds(q.Name) {
		reply.Rcode = dns.RcodeRefused
		return reply, query.RecursionDesired && !Reserved(q.Name)
	}
	var extra []dns.RR
	if reply.Extra != nil {
		extra = slices.Clone(reply.Extra)
	}
	z.Answer(reply, q)
	reply.Extra = append(reply.Extra, extra...)
	return reply, false
}

// rcode refuses what is not a plain question.
func (z *Zone) rcode(query *dns.Msg) int {
	switch {
	case query.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case len(query.Question) != 1:
		return dns.RcodeFormatError
	case query.Question[0].Qclass != dns.ClassINET:
		return dns.RcodeRefused
	}
	switch query.Question[0].Qtype {
	case dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB:
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// refuse what cannot be read, by its header alone.
func refuse(packet []byte, rcode int) *dns.Msg {
	if packet[2]&0x80 != 0 {
		return nil
	}
	reply := &dns.Msg{}
	reply.Id = uint16(packet[0])<<8 | uint16(packet[1])
	reply.Response, reply.Rcode = true, rcode
	return reply
}

// pack the answer within what the asker takes; what does not fit is left out,
// and the answer says so.
func pack(answer *dns.Msg, packet []byte, tcp bool) []byte {
	size := dns.MaxMsgSize
	if !tcp {
		size = dns.MinMsgSize
		query := &dns.Msg{}
		if err := query.Unpack(packet); err == nil && query.IsEdns0() != nil {
			size = min(maxUDP, max(size, int(query.IsEdns0().UDPSize())))
		}
	}
	answer.Truncate(size)
	encoded, err := answer.Pack()
	if err != nil || len(encoded) > size {
		return nil
	}
	return encoded
}
