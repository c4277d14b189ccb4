package dispatcher

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// sent is what a stream has carried last.
type sent struct {
	at           time.Duration
	acknowledged uint64
	orders       Fingerprint
	// revision of what is common, and version of the peers.
	revision, book uint64
	delivery       *secrets.Delivery
	// names: it carries endpoints, and is at this step of this term.
	names            bool
	namesTerm, named uint64
}

// send keeps the node's orders up to date until the stream or the term ends.
func (s *session) send(ctx context.Context) error {
	d := s.dispatcher
	last := &sent{delivery: secrets.NewDelivery(d.secrets), at: d.clock.Elapsed() - time.Hour}
	timer := d.clock.NewTimer(heartbeatEvery)
	defer timer.Stop()
	if err := d.hub.await(ctx, d.store.View().Index()); err != nil {
		return nil
	}
	for {
		if over, err := s.over(); over {
			return err
		}
		response := &sitev1.SyncResponse{Acknowledged: s.acknowledged.Load()}
		var gone error
		pace := heartbeatEvery
		if s.greeted.Load() && s.dirty.Swap(false) {
			view := d.store.View()
			var err error
			if gone, err = Gone(view, s.peer); err != nil {
				return err
			}
			s.addOrders(response, view, last)
		}
		moved := s.addNames(response, last)
		if !s.votes {
			pace = d.hub.pace()
		}
		if ended := s.tell(ctx, response, last, pace); ended {
			return nil
		}
		if gone != nil {
			return gone
		}
		if err := env.Sleep(ctx, d.clock, settle); err != nil {
			return nil
		}
		timer.Reset(max(0, pace-(d.clock.Elapsed()-last.at)))
		select {
		case <-s.wake:
		case <-moved:
		case <-timer.C():
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// over tells whether the term is: then the node was told who coordinates now.
//
//go:noinline
func (s *session) over() (bool, error) {
	status := s.dispatcher.log.Status()
	if status.Serving && status.Term == s.term {
		return false, nil
	}
	return true, s.dispatcher.redirect(s.stream, status)
}

// addOrders to a message, if they differ from those that the stream carried
// last.
func (s *session) addOrders(response *sitev1.SyncResponse, view *state.View, last *sent) {
	d := s.dispatcher
	site := d.hub.site.Load()
	orders := own(view, site.survey, s.node, s.term)
	last.delivery.Add(view, s.node, orders)
	s.votes = orders.GetRaftId() != 0
	print := FingerprintOf(orders)
	version := d.hub.book.Version()
	if print == last.orders && site.revision == last.revision && version == last.book {
		return
	}
	common := &sitev1.CommonOrders{}
	if version != last.book {
		peers, now := d.hub.book.Since(last.book)
		common.Peers, common.Packed, version = peers.GetPeers(), peers.GetPacked(), now
	}
	if site.revision != last.revision {
		common.Orders = site.encoded
	}
	if len(common.GetOrders())+len(common.GetPeers()) > 0 {
		response.Common = common
	}
	last.orders, last.revision, last.book = print, site.revision, version
	response.Message = &sitev1.SyncResponse_Assignments{Assignments: orders}
}

// addNames to a message: what the node's endpoints lack. It returns what to wait
// for before there can be more; nil when the node wants none.
func (s *session) addNames(response *sitev1.SyncResponse, last *sent) <-chan struct{} {
	names, digest := s.dispatcher.Names, s.names.Load()
	if names == nil || digest == nil {
		return nil
	}
	if !last.names {
		response.Endpoints, last.namesTerm, last.named = names.Begin(*digest)
		last.names = response.Endpoints != nil
	}
	var moved <-chan struct{}
	if response.Endpoints == nil {
		response.Endpoints, last.named, moved, _ = names.Next(last.namesTerm, last.named)
	}
	if response.Endpoints != nil {
		return soon // there may be more
	}
	return moved
}

// soon is always over.
var soon = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// tell the node, if there is anything to tell or it is time to; true when the
// stream has ended: the agent comes again.
func (s *session) tell(ctx context.Context, response *sitev1.SyncResponse, last *sent, pace time.Duration) bool {
	d := s.dispatcher
	due := d.clock.Elapsed()-last.at >= pace
	if response.Message == nil && response.Endpoints == nil && response.Acknowledged == last.acknowledged && !due {
		return false
	}
	if response.Message == nil {
		response.Message = &sitev1.SyncResponse_Heartbeat{Heartbeat: &sitev1.SyncHeartbeat{}}
	}
	if pace != heartbeatEvery {
		response.Pace = durationpb.New(pace)
	}
	response.Clock = d.Time()
	if len(response.GetCommon().GetPeers()) > largeFrom {
		select {
		case d.large <- struct{}{}:
			defer func() { <-d.large }()
		case <-ctx.Done():
			return true
		}
	}
	if err := s.stream.Send(response); err != nil {
		return true
	}
	last.at, last.acknowledged = d.clock.Elapsed(), response.Acknowledged
	return false
}
