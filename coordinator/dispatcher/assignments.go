package dispatcher

import (
	"crypto/sha256"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Assignments are all that a node needs to go on alone.
func Assignments(view *state.View, name string, term uint64) *sitev1.Assignments {
	site := view.Site()
	orders := &sitev1.Assignments{
		Order:             &sitev1.Order{SiteEpoch: view.SiteEpoch(), Term: term, Index: view.Index()},
		Peers:             view.Peers(),
		Trust:             view.Trust(),
		GossipKey:         view.GossipKey(),
		Gossip:            view.Gossip().GetRing(),
		RaftId:            view.Node(name).GetRaftId(),
		Site:              site,
		SiteId:            view.SiteID(),
		Record:            record(view.Node(name)),
		AuthorityLifetime: durationpb.New(view.Lifetimes().Authority),
		Access:            view.AccessRecords(),
		Renew:             view.MustRenew(view.Node(name)),
		Retiring:          view.Retiring(),

		AuthorityGeneration: view.AuthorityGeneration(),
	}
	wanted := map[string]bool{}
	for _, placement := range view.PlacementsOn(name) {
		orders.Placements = append(orders.Placements, order(placement))
		if digest := placement.GetImageDigest(); digest != "" && !wanted[digest] {
			wanted[digest] = true
			orders.Images = append(orders.Images, source(view, placement, digest))
		}
	}
	addKept(view, name, orders)
	return orders
}

// record is what decides what a node may run.
func record(n *skerryv1.Node) *skerryv1.Node {
	return &skerryv1.Node{Name: n.GetName(), Zone: n.GetZone(), Labels: n.GetLabels(), Version: n.GetVersion()}
}

// order is a placement without what the node itself reported and what only
// people read: a change of those must not look like a new order.
func order(p *skerryv1.Placement) *skerryv1.Placement {
	return &skerryv1.Placement{
		Kind:        p.GetKind(),
		Name:        p.GetName(),
		Project:     p.GetProject(),
		Labels:      p.GetLabels(),
		Generation:  p.GetGeneration(),
		Created:     p.GetCreated(),
		Workload:    p.GetWorkload(),
		Node:        p.GetNode(),
		Desired:     p.GetDesired(),
		Spec:        p.GetSpec(),
		ImageDigest: p.GetImageDigest(),
		Ended:       p.GetEnded(),
	}
}

func source(view *state.View, placement *skerryv1.Placement, digest string) *sitev1.ImageSource {
	source := &sitev1.ImageSource{Name: placement.GetSpec().GetContainer().GetImage(), Digest: digest}
	if image := view.ImageByDigest(digest); image != nil {
		source.Nodes = image.GetNodes()
	}
	return source
}

// Fingerprint of orders, apart from their index: equal ones are not sent
// again.
type Fingerprint [sha256.Size]byte

// FingerprintOf orders.
func FingerprintOf(orders *sitev1.Assignments) Fingerprint {
	index, records := orders.GetOrder().GetIndex(), orders.GetAccess()
	orders.Order.Index = 0
	orders.Access = &sitev1.AccessRecords{Revision: records.GetRevision()} // the rest follows from it
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(orders)
	orders.Order.Index, orders.Access = index, records
	if err != nil {
		// Only invalid UTF-8 can do this, and that is refused on the way in.
		panic("assignments cannot be encoded: " + err.Error())
	}
	return sha256.Sum256(encoded)
}
