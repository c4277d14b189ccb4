package naming

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	serving  = skerryv1.EndpointState_ENDPOINT_STATE_SERVING
	notReady = skerryv1.EndpointState_ENDPOINT_STATE_NOT_READY
)

// site is what the names stand for in these tests.
type site struct {
	endpoints []*skerryv1.Endpoint
	nodes     map[string]netip.Addr
}

func (s site) Workload(project, name string) []*skerryv1.Endpoint {
	var out []*skerryv1.Endpoint
	for _, e := range s.endpoints {
		if e.GetProject() == project && e.GetWorkload() == name {
			out = append(out, e)
		}
	}
	return out
}

func (s site) HasProject(project string) bool {
	return slices.ContainsFunc(s.endpoints, func(e *skerryv1.Endpoint) bool { return e.GetProject() == project })
}

func (s site) Node(name string) (netip.Addr, bool) {
	address, ok := s.nodes[name]
	return address, ok
}

func endpoint(workload, placement, node string, state skerryv1.EndpointState, ports ...*skerryv1.EndpointPort) *skerryv1.Endpoint {
	return &skerryv1.Endpoint{Project: "shop", Workload: workload, Placement: placement, Node: node, State: state, Ports: ports}
}

func port(name string, number uint32, protocol string) *skerryv1.EndpointPort {
	return &skerryv1.EndpointPort{Name: name, Port: number, Protocol: protocol}
}

func local(placement, node, address string) *skerryv1.Endpoint {
	e := endpoint("helper", placement, node, serving)
	e.LocalAddress, e.LocalPorts = address, []*skerryv1.EndpointPort{port("rpc", 9000, "tcp")}
	return e
}

func newZone() *Zone {
	return &Zone{
		Site: "harbour", Self: "n1", Shuffle: func(int, func(i, j int)) {},
		Names: site{
			nodes: map[string]netip.Addr{
				"n1": netip.MustParseAddr("10.0.0.1"), "n2": netip.MustParseAddr("10.0.0.2"), "n6": netip.MustParseAddr("fd00::6"),
			},
			endpoints: []*skerryv1.Endpoint{
				endpoint("web", "web-1", "n1", serving, port("http", 18080, "tcp"), port("quic", 18443, "udp")),
				endpoint("web", "web-2", "n2", serving, port("http", 18080, "tcp")),
				endpoint("web", "web-3", "n2", serving, port("http", 18081, "tcp")),
				endpoint("web", "web-4", "n1", notReady, port("http", 18082, "tcp")),
				endpoint("web", "web-5", "n6", serving, port("http", 18080, "tcp")),
				endpoint("web", "web-6", "nowhere", serving, port("http", 18080, "tcp")),
				endpoint("silent", "silent-1", "n1", serving),
				endpoint("down", "down-1", "n1", notReady, port("http", 18090, "tcp")),
				local("helper-1", "n1", "10.88.0.7"), local("helper-2", "n2", "10.88.0.8"),
			},
		},
	}
}

// ask the zone; records without their names and times to live.
func ask(t *testing.T, z *Zone, name string, kind uint16) (rcode string, records []string) {
	t.Helper()
	packet, err := new(dns.Msg).SetQuestion(name, kind).Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply, _ := z.reply(packet, false)
	for _, r := range reply.Answer {
		fields := strings.Fields(r.String())
		records = append(records, strings.Join(fields[3:], " "))
		if r.Header().Ttl != TTL || r.Header().Name != name {
			t.Errorf("a record of %s, to live for %d s", r.Header().Name, r.Header().Ttl)
		}
	}
	if soa := len(reply.Ns) == 1 && reply.Ns[0].Header().Rrtype == dns.TypeSOA; soa != (len(records) == 0 && reply.Rcode != dns.RcodeRefused) {
		t.Errorf("says for how long nothing counts: %v", reply.Ns)
	}
	return dns.RcodeToString[reply.Rcode], records
}

func TestNames(t *testing.T) {
	for name, c := range map[string]struct {
		name  string
		kind  uint16
		rcode string
		want  []string
	}{
		"a workload's addresses are those of the nodes of what serves, each once": {
			"web.shop.harbour.skerry.", dns.TypeA, "NOERROR", []string{"A 10.0.0.1", "A 10.0.0.2"}},
		"capitals do not matter": {"Web.SHOP.Harbour.Skerry.", dns.TypeA, "NOERROR", []string{"A 10.0.0.1", "A 10.0.0.2"}},
		"a workload's addresses of the other family": {
			"web.shop.harbour.skerry.", dns.TypeAAAA, "NOERROR", []string{"AAAA fd00::6"}},
		"a port by name": {"_http._tcp.web.shop.harbour.skerry.", dns.TypeSRV, "NOERROR", []string{
			"SRV 0 1 18080 web-1.web.shop.harbour.skerry.", "SRV 0 1 18080 web-2.web.shop.harbour.skerry.",
			"SRV 0 1 18081 web-3.web.shop.harbour.skerry.", "SRV 0 1 18080 web-5.web.shop.harbour.skerry."}},
		"a port of the other protocol": {"_quic._udp.web.shop.harbour.skerry.", dns.TypeSRV, "NOERROR", []string{
			"SRV 0 1 18443 web-1.web.shop.harbour.skerry."}},
		"a port with the wrong protocol": {"_quic._tcp.web.shop.harbour.skerry.", dns.TypeSRV, "NOERROR", nil},
		"a port has no address":          {"_http._tcp.web.shop.harbour.skerry.", dns.TypeA, "NOERROR", nil},
		"the name above the ports":       {"_tcp.web.shop.harbour.skerry.", dns.TypeSRV, "NOERROR", nil},
		"one placement":                  {"web-3.web.shop.harbour.skerry.", dns.TypeA, "NOERROR", []string{"A 10.0.0.2"}},
		"all ports of one placement":     {"web-3.web.shop.harbour.skerry.", dns.TypeSRV, "NOERROR", []string{"SRV 0 1 18081 web-3.web.shop.harbour.skerry."}},
		"a placement that does not serve, for who was sent to it before": {
			"web-4.web.shop.harbour.skerry.", dns.TypeA, "NOERROR", []string{"A 10.0.0.1"}},
		"a placement of another workload":         {"silent-1.web.shop.harbour.skerry.", dns.TypeA, "NXDOMAIN", nil},
		"nothing serves":                          {"down.shop.harbour.skerry.", dns.TypeA, "NOERROR", nil},
		"nothing is published":                    {"silent.shop.harbour.skerry.", dns.TypeA, "NOERROR", nil},
		"not published: only this node's own":     {"helper.shop.harbour.skerry.", dns.TypeA, "NOERROR", []string{"A 10.88.0.7"}},
		"not published: the port in it":           {"_rpc._tcp.helper.shop.harbour.skerry.", dns.TypeSRV, "NOERROR", []string{"SRV 0 1 9000 helper-1.helper.shop.harbour.skerry."}},
		"there is no such workload":               {"nothing.shop.harbour.skerry.", dns.TypeA, "NXDOMAIN", nil},
		"there is no such project":                {"web.nothing.harbour.skerry.", dns.TypeA, "NXDOMAIN", nil},
		"a project":                               {"shop.harbour.skerry.", dns.TypeA, "NOERROR", nil},
		"no project":                              {"nothing.harbour.skerry.", dns.TypeA, "NXDOMAIN", nil},
		"the site":                                {"harbour.skerry.", dns.TypeA, "NOERROR", nil},
		"a node":                                  {"n2.node.harbour.skerry.", dns.TypeA, "NOERROR", []string{"A 10.0.0.2"}},
		"a node's other family":                   {"n2.node.harbour.skerry.", dns.TypeAAAA, "NOERROR", nil},
		"there is no such node":                   {"n3.node.harbour.skerry.", dns.TypeA, "NXDOMAIN", nil},
		"all nodes are not listed":                {"node.harbour.skerry.", dns.TypeA, "NOERROR", nil},
		"too many labels":                         {"a.b.c.web.shop.harbour.skerry.", dns.TypeA, "NXDOMAIN", nil},
		"a type that there is none of":            {"web.shop.harbour.skerry.", dns.TypeMX, "NOERROR", nil},
		"everything":                              {"web.shop.harbour.skerry.", dns.TypeANY, "REFUSED", nil},
		"the whole zone":                          {"harbour.skerry.", dns.TypeAXFR, "REFUSED", nil},
		"another site":                            {"web.shop.quay.skerry.", dns.TypeA, "REFUSED", nil},
		"a site whose name ends as this one's":    {"web.shop.xharbour.skerry.", dns.TypeA, "REFUSED", nil},
		"a name of somebody else":                 {"example.com.", dns.TypeA, "REFUSED", nil},
		"a name that only looks as if it were it": {"harbour.skerry.example.com.", dns.TypeA, "REFUSED", nil},
	} {
		t.Run(name, func(t *testing.T) {
			rcode, records := ask(t, newZone(), c.name, c.kind)
			if diff := cmp.Diff(c.want, records); diff != "" || rcode != c.rcode {
				t.Errorf("%s, want %s (-want +got):\n%s", rcode, c.rcode, diff)
			}
		})
	}
}

func TestServicesComeWithTheirAddresses(t *testing.T) {
	packet, _ := new(dns.Msg).SetQuestion("_http._tcp.web.shop.harbour.skerry.", dns.TypeSRV).Pack()
	reply, _ := newZone().reply(packet, false)
	var got []string
	for _, r := range reply.Extra {
		got = append(got, strings.Join(strings.Fields(r.String()), " "))
	}
	want := []string{
		"web-1.web.shop.harbour.skerry. 1 IN A 10.0.0.1", "web-2.web.shop.harbour.skerry. 1 IN A 10.0.0.2",
		"web-3.web.shop.harbour.skerry. 1 IN A 10.0.0.2", "web-5.web.shop.harbour.skerry. 1 IN AAAA fd00::6",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOddQuestions(t *testing.T) {
	plain := func() *dns.Msg { return new(dns.Msg).SetQuestion("web.shop.harbour.skerry.", dns.TypeA) }
	for name, c := range map[string]struct {
		change func(*dns.Msg)
		want   string
	}{
		"an update":          {func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, "NOTIMP"},
		"no question":        {func(m *dns.Msg) { m.Question = nil }, "FORMERR"},
		"two questions":      {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, "FORMERR"},
		"of another class":   {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, "REFUSED"},
		"of a later version": {func(m *dns.Msg) { m.SetEdns0(4096, false); m.IsEdns0().SetVersion(1) }, dns.RcodeToString[dns.RcodeBadVers]},
		"an answer":          {func(m *dns.Msg) { m.Response = true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := plain()
			c.change(m)
			packet, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if reply, _ := newZone().reply(packet, false); reply != nil {
				got = dns.RcodeToString[reply.Rcode]
			}
			if got != c.want {
				t.Errorf("the reply is %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnswersFitWhatTheAskerTakes(t *testing.T) {
	z := newZone()
	var all []*skerryv1.Endpoint
	nodes := map[string]netip.Addr{}
	for i := range 2000 {
		node := "n" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		nodes[node] = netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		all = append(all, endpoint("web", node, node, serving, port("http", 80, "tcp")))
	}
	z.Names = site{endpoints: all, nodes: nodes}
	for name, c := range map[string]struct {
		edns uint16
		tcp  bool
		most int
	}{
		"an old asker":                  {0, false, 512},
		"one that takes more":           {1000, false, 1000},
		"one that takes more than goes": {65000, false, maxUDP},
		"one that takes too little":     {100, false, 512},
		"over TCP":                      {0, true, 65535},
	} {
		t.Run(name, func(t *testing.T) {
			m := new(dns.Msg).SetQuestion("web.shop.harbour.skerry.", dns.TypeA)
			if c.edns != 0 {
				m.SetEdns0(c.edns, false)
			}
			packet, _ := m.Pack()
			reply, _ := z.reply(packet, c.tcp)
			encoded := pack(reply, packet, c.tcp)
			got := new(dns.Msg)
			if err := got.Unpack(encoded); err != nil || len(encoded) > c.most || len(encoded) < c.most/2 && !c.tcp {
				t.Fatalf("%d bytes, at most %d: %v", len(encoded), c.most, err)
			}
			if got.Truncated == c.tcp || (got.IsEdns0() != nil) != (c.edns != 0) {
				t.Errorf("truncated %v, EDNS %v", got.Truncated, got.IsEdns0())
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"web.shop.harbour.skerry.", "_http._tcp.web.shop.harbour.skerry.", "n1.node.harbour.skerry.", "harbour.skerry.", "."} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeANY} {
			m := new(dns.Msg).SetQuestion(name, kind)
			m.SetEdns0(4096, true)
			packet, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packet, kind == dns.TypeA)
		}
	}
	z := newZone()
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		reply, elsewhere := z.reply(packet, tcp)
		if reply == nil {
			return
		}
		if elsewhere && (len(reply.Question) != 1 || Reserved(reply.Question[0].Name)) {
			t.Fatalf("somebody else would be asked for %v", reply.Question)
		}
		encoded := pack(reply, packet, tcp)
		if len(encoded) > dns.MaxMsgSize || !tcp && len(encoded) > maxUDP {
			t.Fatalf("an answer of %d bytes", len(encoded))
		}
		if len(encoded) > 0 && (encoded[0] != packet[0] || encoded[1] != packet[1] || encoded[2]&0x80 == 0) {
			t.Fatalf("it is no answer to the question: %x to %x", encoded[:3], packet[:3])
		}
	})
}
