// Package endpoints is what the coordinator and the nodes have in common about
// endpoints: how one follows from a placement, how a set of them is compared
// over the network, and how the differences are packed.
package endpoints

import (
	"cmp"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TLD is the last label of the names of every site.
const TLD = "skerry"

// Domain is what the names of a site end with.
func Domain(site string) string { return site + "." + TLD }

// Of a placement that has a node, without its state.
//
// What publishes ports, or uses its node's network, is reached at its node's
// address. What does neither is reached by its own node alone.
func Of(p *skerryv1.Placement) *skerryv1.Endpoint {
	e := &skerryv1.Endpoint{Project: p.GetProject(), Workload: p.GetWorkload(), Placement: p.GetName(), Node: p.GetNode()}
	container := p.GetSpec().GetContainer()
	onHost := container.GetNetwork() == "host"
	for _, port := range container.GetPorts() {
		number := port.GetHostPort()
		if onHost {
			number = port.GetPort()
		}
		if number != 0 {
			e.Ports = append(e.Ports, &skerryv1.EndpointPort{Name: port.GetName(), Port: number, Protocol: port.GetProtocol()})
		}
	}
	if len(e.GetPorts()) > 0 || p.GetStatus().GetAddress() == "" {
		return e
	}
	e.LocalAddress = p.GetStatus().GetAddress()
	for _, port := range container.GetPorts() {
		e.LocalPorts = append(e.LocalPorts, &skerryv1.EndpointPort{Name: port.GetName(), Port: port.GetPort(), Protocol: port.GetProtocol()})
	}
	return e
}

// Works tells whether a status is that of something that does its work.
func Works(spec *skerryv1.Workload, status *skerryv1.PlacementStatus) bool {
	return status.GetPhase() == skerryv1.Phase_PHASE_RUNNING &&
		(spec.GetHealth() == nil || status.GetReadiness() == skerryv1.Readiness_READINESS_HEALTHY)
}

// Key of an endpoint: `PROJECT/PLACEMENT`.
func Key(e *skerryv1.Endpoint) string { return e.GetProject() + "/" + e.GetPlacement() }

// Compare endpoints by project, workload and placement; web-2 is before web-10.
func Compare(a, b *skerryv1.Endpoint) int {
	return cmp.Or(cmp.Compare(a.GetProject(), b.GetProject()), cmp.Compare(a.GetWorkload(), b.GetWorkload()),
		cmp.Compare(len(a.GetPlacement()), len(b.GetPlacement())), cmp.Compare(a.GetPlacement(), b.GetPlacement()))
}

// Set of endpoints, by their keys. Its digest is kept up to date at the cost of
// what changes. It is not safe for concurrent use.
type Set struct {
	all    map[string]*skerryv1.Endpoint
	digest uint64
}

// NewSet returns a set of these endpoints.
func NewSet(all ...*skerryv1.Endpoint) *Set {
	s := &Set{all: make(map[string]*skerryv1.Endpoint, len(all))}
	for _, e := range all {
		s.Put(e)
	}
	return s
}

// Get returns the endpoint of a key, or nil.
func (s *Set) Get(key string) *skerryv1.Endpoint { return s.all[key] }

// Put adds an endpoint or replaces the one of its key. It must not be changed
// any more.
func (s *Set) Put(e *skerryv1.Endpoint) {
	key := Key(e)
	s.Remove(key)
	s.all[key] = e
	s.digest += hash(e)
}

// Remove forgets the endpoint of a key, if there is one.
func (s *Set) Remove(key string) {
	if old := s.all[key]; old != nil {
		s.digest -= hash(old)
		delete(s.all, key)
	}
}

// Digest is equal for equal sets, and 0 for the empty one.
func (s *Set) Digest() uint64 { return s.digest }

// All endpoints, sorted.
func (s *Set) All() []*skerryv1.Endpoint { return slices.SortedFunc(maps.Values(s.all), Compare) }

// hash finds differences; it is no defence against a coordinator that lies.
func hash(e *skerryv1.Endpoint) uint64 {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		panic("an endpoint cannot be encoded: " + err.Error()) // only invalid UTF-8 can do this, and that does not parse
	}
	return xxhash.Sum64(encoded)
}
