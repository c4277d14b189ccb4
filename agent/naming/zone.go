package naming

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

const (
	// TTL of all answers, in seconds. A placement that stops waits longer than
	// that, so that nobody comes to it any more.
	TTL = 1
	// nodeLabel stands where a project does in the names of nodes.
	nodeLabel = "node"
	// maxRecords of one answer. More would not fit in a packet anyway.
	maxRecords = 512
)

// Names are what the site's names stand for.
type Names interface {
	// Workload returns the endpoints of a workload; none when there is no such
	// thing.
	Workload(project, name string) []*skerryv1.Endpoint
	HasProject(project string) bool
	Node(name string) (netip.Addr, bool)
}

// Zone answers questions about the names of one site, and has no effects.
type Zone struct {
	Site string
	// Self is the name of this node: only it reaches its containers' own
	// addresses.
	Self  string
	Names Names
	// Shuffle spreads callers over the placements.
	Shuffle func(n int, swap func(i, j int))
}

// domain of the site, as names in packets are written.
func (z *Zone) domain() string { return dns.CanonicalName(endpoints.Domain(z.Site)) }

// Holds tells whether a name is one of the site's.
func (z *Zone) Holds(name string) bool { return dns.IsSubDomain(z.domain(), dns.CanonicalName(name)) }

// Reserved tells whether a name is one of any site: nobody else knows it.
func Reserved(name string) bool { return dns.IsSubDomain(endpoints.TLD+".", dns.CanonicalName(name)) }

// Answer fills in the reply to a question about a name that the zone holds.
func (z *Zone) Answer(reply *dns.Msg, q dns.Question) {
	reply.Authoritative = true
	found := z.find(q)
	reply.Answer, reply.Extra = found.records, found.extra
	if !found.exists {
		reply.Rcode = dns.RcodeNameError
	}
	if len(reply.Answer) == 0 {
		reply.Ns = []dns.RR{z.authority()}
	}
}

// found is what there is of a name. A name that exists may have no record of the
// type that was asked for.
type found struct {
	exists         bool
	records, extra []dns.RR
}

func (z *Zone) find(q dns.Question) found {
	name := dns.CanonicalName(q.Name)
	labels := dns.SplitDomainName(strings.TrimSuffix(strings.TrimSuffix(name, z.domain()), "."))
	switch n := len(labels); {
	case n == 0 && q.Qtype == dns.TypeSOA:
		return found{exists: true, records: []dns.RR{z.authority()}}
	case n == 0:
		return found{exists: true}
	case n == 2 && labels[1] == nodeLabel:
		if address, ok := z.Names.Node(labels[0]); ok {
			return found{exists: true, records: addressRecords(q, []netip.Addr{address})}
		}
		return z.findWorkload(q, labels)
	case n == 1:
		return found{exists: labels[0] == nodeLabel || z.Names.HasProject(labels[0])}
	default:
		return z.findWorkload(q, labels)
	}
}

// findWorkload: WORKLOAD.PROJECT, PLACEMENT.WORKLOAD.PROJECT, or
// _PORT._PROTOCOL.WORKLOAD.PROJECT.
func (z *Zone) findWorkload(q dns.Question, labels []string) found {
	n := len(labels)
	all := z.Names.Workload(labels[n-1], labels[n-2])
	if len(all) == 0 || n > 4 {
		return found{}
	}
	port, protocol := "", ""
	switch {
	case n == 3 && !isProtocol(labels[0]):
		return z.findPlacement(q, all, labels[0])
	case n == 3:
		return found{exists: true}
	case n == 4:
		if !isProtocol(labels[1]) || !strings.HasPrefix(labels[0], "_") {
			return found{}
		}
		port, protocol = labels[0][1:], labels[1][1:]
		if q.Qtype != dns.TypeSRV {
			return found{exists: true}
		}
	}
	all = slices.DeleteFunc(all, func(e *skerryv1.Endpoint) bool {
		return e.GetState() != skerryv1.EndpointState_ENDPOINT_STATE_SERVING
	})
	slices.SortFunc(all, endpoints.Compare)
	z.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if q.Qtype == dns.TypeSRV {
		return z.services(q, all, port, protocol)
	}
	return found{exists: true, records: addressRecords(q, z.addresses(all))}
}

// findPlacement answers for one placement in whatever state it is: who was sent
// to it a moment ago must still find it while it leaves.
func (z *Zone) findPlacement(q dns.Question, all []*skerryv1.Endpoint, name string) found {
	all = slices.DeleteFunc(all, func(e *skerryv1.Endpoint) bool { return e.GetPlacement() != name })
	switch {
	case len(all) == 0:
		return found{}
	case q.Qtype == dns.TypeSRV:
		return z.services(q, all, "", "")
	default:
		return found{exists: true, records: addressRecords(q, z.addresses(all))}
	}
}

func isProtocol(label string) bool { return label == "_tcp" || label == "_udp" }

// reach tells how this node's containers reach an endpoint; no ports when they
// do not.
func (z *Zone) reach(e *skerryv1.Endpoint) (netip.Addr, []*skerryv1.EndpointPort) {
	if len(e.GetPorts()) > 0 {
		if address, ok := z.Names.Node(e.GetNode()); ok {
			return address, e.GetPorts()
		}
		return netip.Addr{}, nil
	}
	if address, err := netip.ParseAddr(e.GetLocalAddress()); err == nil && e.GetNode() == z.Self {
		return address.Unmap(), e.GetLocalPorts()
	}
	return netip.Addr{}, nil
}

// addresses of endpoints, each once.
func (z *Zone) addresses(all []*skerryv1.Endpoint) []netip.Addr {
	var out []netip.Addr
	seen := map[netip.Addr]bool{}
	for _, e := range all {
		if address, _ := z.reach(e); address.IsValid() && !seen[address] {
			seen[address] = true
			out = append(out, address)
		}
	}
	return out
}

// services are the records of ports: of all, or of those with a name and a
// protocol.
func (z *Zone) services(q dns.Question, all []*skerryv1.Endpoint, port, protocol string) found {
	f := found{exists: true}
	for _, e := range all {
		address, ports := z.reach(e)
		target := strings.Join([]string{e.GetPlacement(), e.GetWorkload(), e.GetProject(), z.domain()}, ".")
		before := len(f.records)
		for _, p := range ports {
			if len(f.records) < maxRecords && (port == "" || p.GetName() == port && p.GetProtocol() == protocol) {
				f.records = append(f.records, &dns.SRV{
					Hdr: header(q.Name, dns.TypeSRV), Weight: 1, Port: uint16(p.GetPort()), Target: target,
				})
			}
		}
		if len(f.records) > before {
			f.extra = append(f.extra, record(target, address))
		}
	}
	return f
}

// addressRecords are those of the family that was asked for.
func addressRecords(q dns.Question, addresses []netip.Addr) []dns.RR {
	var out []dns.RR
	for _, address := range addresses {
		if r := record(q.Name, address); r.Header().Rrtype == q.Qtype && len(out) < maxRecords {
			out = append(out, r)
		}
	}
	return out
}

func record(name string, address netip.Addr) dns.RR {
	if address.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA), A: net.IP(address.AsSlice())}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: net.IP(address.AsSlice())}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: TTL}
}

// authority says for how long an answer without records counts.
func (z *Zone) authority() dns.RR {
	domain := z.domain()
	return &dns.SOA{
		Hdr: header(domain, dns.TypeSOA), Ns: "ns." + domain, Mbox: "nobody." + domain,
		Serial: 1, Refresh: TTL, Retry: TTL, Expire: TTL, Minttl: TTL,
	}
}
