package naming

import (
	"net/netip"
	"slices"
	"sync/atomic"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

// Directory is what this node knows of the site: its copy of the endpoints, and
// in place of what the copy says of this node the truth.
type Directory struct {
	self string
	book *Book
	own  atomic.Pointer[own]
}

// own is what the node knows by itself, at one moment.
type own struct {
	nodes     map[string]netip.Addr
	endpoints map[string][]*skerryv1.Endpoint // by project/workload
	projects  map[string]bool
}

// NewDirectory returns a directory of the named node.
func NewDirectory(self string, book *Book) *Directory {
	d := &Directory{self: self, book: book}
	d.own.Store(&own{})
	return d
}

// Know takes in the node's own orders, and how its placements are. What is not
// reported is not known yet: there the copy counts.
func (d *Directory) Know(orders *sitev1.Assignments, reports []*sitev1.PlacementReport) {
	known := &own{nodes: map[string]netip.Addr{}, endpoints: map[string][]*skerryv1.Endpoint{}, projects: map[string]bool{}}
	for _, peer := range orders.GetPeers() {
		if address, err := netip.ParseAddrPort(peer.GetAddress()); err == nil {
			known.nodes[peer.GetName()] = address.Addr().Unmap()
		}
	}
	statuses := make(map[string]*skerryv1.PlacementStatus, len(reports))
	for _, report := range reports {
		statuses[report.GetProject()+"/"+report.GetPlacement()] = report.GetStatus()
	}
	for _, p := range orders.GetPlacements() {
		status := statuses[p.GetProject()+"/"+p.GetName()]
		e := endpoints.Of(&skerryv1.Placement{
			Project: p.GetProject(), Workload: p.GetWorkload(), Name: p.GetName(), Node: d.self, Spec: p.GetSpec(), Status: status,
		})
		switch {
		case p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN:
			e.State = skerryv1.EndpointState_ENDPOINT_STATE_LEAVING
		case status == nil: // the copy counts
		case endpoints.Works(p.GetSpec(), status):
			e.State = skerryv1.EndpointState_ENDPOINT_STATE_SERVING
		default:
			e.State = skerryv1.EndpointState_ENDPOINT_STATE_NOT_READY
		}
		key := p.GetProject() + "/" + p.GetWorkload()
		known.endpoints[key] = append(known.endpoints[key], e)
		known.projects[p.GetProject()] = true
	}
	d.own.Store(known)
}

// Workload implements Names.
func (d *Directory) Workload(project, name string) []*skerryv1.Endpoint {
	known := d.own.Load()
	all := slices.DeleteFunc(d.book.workload(project, name), func(e *skerryv1.Endpoint) bool { return e.GetNode() == d.self })
	for _, e := range known.endpoints[project+"/"+name] {
		all = append(all, d.merged(e))
	}
	return all
}

// merged is an endpoint of this node, with what only the site can know of it.
func (d *Directory) merged(e *skerryv1.Endpoint) *skerryv1.Endpoint {
	const serving, held = skerryv1.EndpointState_ENDPOINT_STATE_SERVING, skerryv1.EndpointState_ENDPOINT_STATE_HELD
	copied := d.book.get(endpoints.Key(e))
	switch {
	case e.GetState() == serving && copied.GetState() == held:
		return copied
	case e.GetState() == skerryv1.EndpointState_ENDPOINT_STATE_UNSPECIFIED && copied != nil:
		return copied
	default:
		return e
	}
}

// All endpoints, sorted.
func (d *Directory) All() []*skerryv1.Endpoint {
	all := d.book.others(d.self)
	for _, list := range d.own.Load().endpoints {
		for _, e := range list {
			all = append(all, d.merged(e))
		}
	}
	slices.SortFunc(all, endpoints.Compare)
	return all
}

// HasProject implements Names.
func (d *Directory) HasProject(project string) bool {
	return d.own.Load().projects[project] || d.book.hasProject(project)
}

// Node implements Names.
func (d *Directory) Node(name string) (netip.Addr, bool) {
	address, ok := d.own.Load().nodes[name]
	return address, ok
}
