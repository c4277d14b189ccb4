package dispatcher

import (
	"crypto/sha256"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Site makes the orders of all nodes at one moment.
type Site struct {
	view   *state.View
	survey *survey
	print  Fingerprint
	common *sitev1.CommonOrders
}

// SiteOf a view. What all nodes share is worked out once.
func SiteOf(view *state.View) *Site { return siteOf(view, nil) }

func siteOf(view *state.View, before *survey) *Site {
	s := &Site{view: view, survey: surveyOf(view, before)}
	all := &sitev1.Assignments{Order: &sitev1.Order{}}
	s.Complete(all)
	s.print = FingerprintOf(all)
	s.common = &sitev1.CommonOrders{Orders: encode(common(view)), Peers: encode(&sitev1.PeerBook{Whole: true, Peers: all.GetPeers()})}
	return s
}

// At a newer view: what all nodes share is the same while neither nodes, nor what
// concerns all of them, nor the chain of trust has changed.
func (s *Site) At(view *state.View) *Site {
	if view.NodesIndex() != s.view.NodesIndex() || view.CommonIndex() != s.view.CommonIndex() ||
		view.AuthorityGeneration() != s.view.AuthorityGeneration() || len(view.Trust()) != len(s.view.Trust()) || len(view.Awaited()) != len(s.view.Awaited()) {
		return siteOf(view, s.survey)
	}
	return &Site{view: view, survey: s.survey, print: s.print, common: s.common}
}

// View that the orders are made from.
func (s *Site) View() *state.View { return s.view }

// Fingerprint of what Complete adds.
func (s *Site) Fingerprint() Fingerprint { return s.print }

// Common is what Complete adds, as it travels on a stream that has carried none of
// it yet.
func (s *Site) Common() *sitev1.CommonOrders { return s.common }

// Own are the orders of one node alone.
func (s *Site) Own(name string, term uint64) *sitev1.Assignments {
	return own(s.view, s.survey, name, term)
}

// Complete orders with what is the same for all nodes, so that they are all that
// the node needs to go on alone.
func (s *Site) Complete(orders *sitev1.Assignments) {
	addCommon(orders, s.view)
	orders.Peers = s.view.Peers()
}

// common are the orders that are the same for all nodes, but for peers.
func common(view *state.View) *sitev1.Assignments {
	orders := &sitev1.Assignments{}
	addCommon(orders, view)
	return orders
}

func addCommon(orders *sitev1.Assignments, view *state.View) {
	orders.Trust, orders.Site, orders.SiteId = view.Trust(), view.Site(), view.SiteID()
	orders.AuthorityLifetime = durationpb.New(view.Lifetimes().Authority)
	orders.Access = view.AccessRecords()
	orders.Retiring, orders.AuthorityGeneration = view.Retiring(), view.AuthorityGeneration()
}

// own are the orders of one node alone. One that was evicted gets no keys: those
// of gossip may be new already.
func own(view *state.View, site *survey, name string, term uint64) *sitev1.Assignments {
	node := view.Node(name)
	orders := &sitev1.Assignments{
		Order:  &sitev1.Order{SiteEpoch: view.SiteEpoch(), Term: term, Index: view.Index()},
		RaftId: node.GetRaftId(),
		Record: record(node),
		Renew:  site.mustRenew(node),
	}
	if node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
		orders.GossipKey, orders.Gossip = view.GossipKey(), view.Gossip().GetRing()
		orders.ImageKeys = sourceKeys(view, node)
	}
	wanted := map[string]bool{}
	for _, placement := range append(view.PlacementsOn(name), view.PlacementsComingTo(name)...) {
		orders.Placements = append(orders.Placements, orderTo(name, placement))
		if digest := placement.GetImageDigest(); digest != "" && !wanted[digest] {
			wanted[digest] = true
			orders.Images = append(orders.Images, site.source(view, placement, digest))
		}
	}
	site.addKept(name, orders)
	site.addReleased(view, node, orders)
	site.addTickets(view, node, orders)
	for _, volume := range view.VolumesOn(name) {
		orders.Volumes = append(orders.Volumes, orderOfVolume(volume))
	}
	for _, p := range orders.Placements {
		orders.Volumes = append(orders.Volumes, comeWith(view, name, p)...)
	}
	for _, volume := range view.VolumesLeftOn(name) {
		if !slices.ContainsFunc(orders.Placements, func(p *skerryv1.Placement) bool {
			return p.GetProject() == volume.GetProject() && state.NamesVolume(p.GetSpec(), volume.GetName())
		}) {
			orders.Volumes = append(orders.Volumes, orderOfCopy(volume))
		}
	}
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
		Power:       p.GetPower(),
	}
}

// orderTo a node that may hold a placement: its own, the one to which it comes, or
// the one that removes what it has of it.
func orderTo(name string, p *skerryv1.Placement) *skerryv1.Placement {
	o := order(p)
	switch m := p.GetMigration(); {
	case state.HeldBy(p, name) && state.HeldElsewhere(p):
		o.Migration = &skerryv1.Migration{State: m.GetState(), Other: m.GetOther(), Attempt: m.GetAttempt(), Incoming: p.GetNode() != name}
	case !state.HeldBy(p, name):
		o.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
	}
	return o
}

// orderOfVolume is a volume without what only people read.
func orderOfVolume(v *skerryv1.Volume) *skerryv1.Volume {
	return &skerryv1.Volume{
		Kind: v.GetKind(), Name: v.GetName(), Project: v.GetProject(), Class: v.GetClass(), Size: v.GetSize(), Node: v.GetNode(), As: v.GetAs(), Path: v.GetPath(),
		Status: &skerryv1.VolumeStatus{Made: v.GetStatus().GetMade(), Deleting: v.GetStatus().GetDeleting()},
	}
}

// comeWith a machine whose old node will never say that it has left: volumes that are
// on this node if they have come. Nothing is put in the place of one that has not.
func comeWith(view *state.View, name string, p *skerryv1.Placement) []*skerryv1.Volume {
	if p.GetNode() != name || p.GetMigration() != nil {
		return nil
	}
	var all []*skerryv1.Volume
	for _, disk := range p.GetSpec().GetVm().GetDisks() {
		if v := view.Volume(p.GetProject(), disk.GetVolume()); v.GetStatus().GetComingTo() == name {
			o := orderOfVolume(v)
			o.Node, o.Status = name, &skerryv1.VolumeStatus{Made: true}
			all = append(all, o)
		}
	}
	return all
}

// orderOfCopy tells a node to delete the old copy of a volume that has left it.
func orderOfCopy(v *skerryv1.Volume) *skerryv1.Volume {
	o := orderOfVolume(v)
	o.Node, o.Status = v.GetStatus().GetLeftOn(), &skerryv1.VolumeStatus{Made: true, Deleting: true}
	return o
}

// Fingerprint of orders, apart from their index: equal ones are not sent
// again.
type Fingerprint [sha256.Size]byte

// FingerprintOf orders.
func FingerprintOf(orders *sitev1.Assignments) Fingerprint {
	index, records := orders.GetOrder().GetIndex(), orders.GetAccess()
	orders.Order.Index = 0
	orders.Access = &sitev1.AccessRecords{Revision: records.GetRevision()} // the rest follows from it
	encoded := encode(orders)
	orders.Order.Index, orders.Access = index, records
	return sha256.Sum256(encoded)
}

func encode(orders proto.Message) []byte {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(orders)
	if err != nil {
		// Only invalid UTF-8 can do this, and that is refused on the way in.
		panic("orders cannot be encoded: " + err.Error())
	}
	return encoded
}
