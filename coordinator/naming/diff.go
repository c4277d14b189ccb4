package naming

import (
	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

// Endpoint of a placement, as DNS answers with it; nil for one without a node.
func Endpoint(p *skerryv1.Placement) *skerryv1.Endpoint {
	if p.GetNode() == "" {
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
	default:
		e.State = skerryv1.EndpointState_ENDPOINT_STATE_SERVING
	}
	return e
}

// book is what the nodes should know, and what it was made from: only
// placements that have changed are looked at.
type book struct {
	set *endpoints.Set
	// from is the placement of each key as it was last looked at.
	from map[string]*skerryv1.Placement
}

func newBook() *book {
	return &book{set: endpoints.NewSet(), from: map[string]*skerryv1.Placement{}}
}

// follow takes in all placements and returns what has changed; nil for nothing.
func (b *book) follow(placements []*skerryv1.Placement) *sitev1.EndpointChanges {
	changes := &sitev1.EndpointChanges{}
	now := make(map[string]*skerryv1.Placement, len(b.from))
	for _, p := range placements {
		key := p.GetProject() + "/" + p.GetName()
		now[key] = p
		if b.from[key] == p {
			continue // objects of the state are replaced, never changed
		}
		e, known := Endpoint(p), b.set.Get(key)
		if e != nil && (known == nil || !proto.Equal(e, known)) {
			b.set.Put(e)
			changes.Set = append(changes.Set, e)
		}
	}
	for key := range b.from {
		if now[key] == nil && b.set.Get(key) != nil {
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
