package naming

import (
	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

// Endpoint of a placement, as DNS answers with it; nil for one without a node, and
// for one that has ended.
// serves tells whether the site has put it into service.
func Endpoint(p *skerryv1.Placement, serves bool) *skerryv1.Endpoint {
	if p.GetNode() == "" || p.GetEnded() != nil {
		return nil
	}
	e := endpoints.Of(p)
	switch {
	case p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN:
		e.State = skerryv1.EndpointState_ENDPOINT_STATE_LEAVING
	case p.GetLostSince() != nil:
		e.State = skerryv1.EndpointState_ENDPOINT_STATE_LOST
	case !state.IsHealthy(p):
		e.State = skerryv1.EndpointState_ENDPOINT_STATE_NOT_READY
	case !serves:
		e.State = skerryv1.EndpointState_ENDPOINT_STATE_HELD
	default:
		e.State = skerryv1.EndpointState_ENDPOINT_STATE_SERVING
	}
	return e
}

// book is what the nodes should know, and what it was made from: only
// placements that have changed are looked at.
type book struct {
	set *endpoints.Set
	// from is what each endpoint was made from.
	from map[string]source
}

// source of an endpoint. Objects of the state are replaced, never changed.
type source struct {
	placement *skerryv1.Placement
	serves    bool
}

func newBook() *book {
	return &book{set: endpoints.NewSet(), from: map[string]source{}}
}

// follow takes in all placements and returns what has changed; nil for nothing.
func (b *book) follow(placements []*skerryv1.Placement, serves func(*skerryv1.Placement) bool) *sitev1.EndpointChanges {
	changes := &sitev1.EndpointChanges{}
	now := make(map[string]source, len(b.from))
	for _, p := range placements {
		key := p.GetProject() + "/" + p.GetName()
		now[key] = source{p, serves(p)}
		if b.from[key] == now[key] {
			continue
		}
		e, known := Endpoint(p, now[key].serves), b.set.Get(key)
		if e != nil && (known == nil || !proto.Equal(e, known)) {
			b.set.Put(e)
			changes.Set = append(changes.Set, e)
		}
	}
	for key := range b.from {
		if now[key].placement == nil && b.set.Get(key) != nil {
			b.set.Remove(key)
			changes.Removed = append(changes.Removed, key)
		}
	}
	b.from = now
	if len(changes.GetSet())+len(changes.GetRemoved()) == 0 {
		return nil
	}
	return changes
}
