package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	tokenSecretBytes = 32
	minTokenTTL      = time.Minute
	defaultTokenTTL  = time.Hour
	maxTokenTTL      = 720 * time.Hour
)

// site implements skerry.v1.SiteService.
type site struct{ *Server }

// Locate is answered by a voter from what it knows, at once: the coordinator
// first, then itself, then the other voters.
func (s site) Locate(context.Context, *connect.Request[skerryv1.LocateRequest]) (*connect.Response[skerryv1.LocateResponse], error) {
	view, status := s.Store.View(), s.Log.Status()
	response := &skerryv1.LocateResponse{
		Site:   s.Site,
		Node:   s.Node,
		Voter:  true,
		Quorum: status.HasQuorum,
		Epoch:  fmt.Sprintf("%d.%d", view.SiteEpoch(), status.Term),
	}
	stamp := s.SiteTime.Read()
	response.SiteTime, response.TimeEra = timestamppb.New(stamp.Time), stamp.Era
	var first, own, others []string
	for _, node := range view.Nodes() {
		switch {
		case node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER:
		case node.GetRaftId() == status.Leader:
			first = append(first, node.GetAddress())
		case node.GetName() == s.Node:
			own = append(own, node.GetAddress())
		default:
			others = append(others, node.GetAddress())
		}
	}
	response.Voters = append(append(first, own...), others...)
	return connect.NewResponse(response), nil
}

func (s site) CreateToken(ctx context.Context, req *connect.Request[skerryv1.CreateTokenRequest]) (*connect.Response[skerryv1.CreateTokenResponse], error) {
	msg := req.Msg
	ttl, err := checkToken(msg)
	if err != nil {
		return nil, err
	}
	if msg.GetRole() == "operator" {
		// The token is a way to give its roles.
		if err := guard.From(ctx).Ask(access.Grant, access.Object{Kind: access.KindOperator, Name: msg.GetName()}); err != nil {
			return nil, err
		}
		if err := knownProjects(s.Store.View(), msg.GetGrants()); err != nil {
			return nil, err
		}
		if err := s.mayGive(ctx, msg.GetGrants()); err != nil {
			return nil, err
		}
	}
	secret := make([]byte, tokenSecretBytes)
	if _, err := s.Rand.Read(secret); err != nil {
		return nil, problem.New(problem.Internal, "token", "no randomness: %w", err)
	}
	if err := checkLabels("token", "labels", msg.GetLabels()); err != nil {
		return nil, err
	}
	hash := sha256.Sum256(secret)
	now := s.SiteTime.Read().Time
	token := &skerryv1.Token{
		Id:      hex.EncodeToString(hash[:4]),
		Role:    msg.GetRole(),
		Name:    msg.GetName(),
		Created: timestamppb.New(now),
		Expires: timestamppb.New(now.Add(ttl)),
	}
	_, err = s.commit(ctx, msg.GetRequestId(), &sitev1.Entry{
		Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token:      token,
			SecretHash: hash[:],
			Zone:       msg.GetZone(),
			Labels:     msg.GetLabels(),
			MayVote:    msg.MayVote,
			Grants:     msg.GetGrants(),
			Witness:    msg.GetWitness(),
		}},
	})
	var p *problem.Error
	if errors.As(err, &p) && p.Kind == problem.Conflict && p.Field == "requestId" {
		// A token that is asked for again is another one: the first is known by its hash alone.
		return nil, problem.New(problem.Conflict, "token", "a request with this ID was carried out already: if it made a token, that cannot be shown again").
			WithHint("make another one: skerry token create; skerry token list shows what there is")
	}
	if err != nil {
		return nil, err
	}
	text := certs.Token{Site: s.Site, SiteID: s.Store.View().SiteID(), Role: msg.GetRole(), Secret: secret}.String()
	return connect.NewResponse(&skerryv1.CreateTokenResponse{Token: text, Expires: token.GetExpires(), Id: token.GetId()}), nil
}

func checkToken(msg *skerryv1.CreateTokenRequest) (time.Duration, error) {
	switch msg.GetRole() {
	case "node":
		if msg.GetWitness() && msg.MayVote != nil && !msg.GetMayVote() {
			return 0, problem.New(problem.Invalid, "token", "a witness is there to vote").WithField("mayVote")
		}
	case "operator":
		if msg.GetName() == "" {
			return 0, problem.New(problem.Invalid, "token", "an operator's token needs the operator's name").
				WithField("name").WithHint("skerry token create --role operator --name alice --grant viewer")
		}
		if msg.GetZone() != "" || len(msg.GetLabels()) > 0 || msg.MayVote != nil || msg.GetWitness() {
			return 0, problem.New(problem.Invalid, "token", "zone, labels, may-vote and witness belong to nodes, not to operators")
		}
	default:
		return 0, problem.New(problem.Invalid, "token", "there is no role %q", msg.GetRole()).
			WithField("role").WithHint("the roles are node and operator")
	}
	if msg.GetName() != "" {
		if err := manifest.CheckName(msg.GetName()); err != nil {
			return 0, problem.New(problem.Invalid, "token", "%w", err).WithField("name")
		}
	}
	if msg.GetZone() != "" {
		if err := manifest.CheckName(msg.GetZone()); err != nil {
			return 0, problem.New(problem.Invalid, "token", "%w", err).WithField("zone")
		}
	}
	if msg.GetTtl() == nil {
		return defaultTokenTTL, nil
	}
	ttl := msg.GetTtl().AsDuration()
	if ttl < minTokenTTL || ttl > maxTokenTTL {
		return 0, problem.New(problem.Invalid, "token", "%s is not between %s and %s", ttl, minTokenTTL, maxTokenTTL).WithField("ttl")
	}
	return ttl, nil
}

func (s site) ListTokens(ctx context.Context, _ *connect.Request[skerryv1.ListTokensRequest]) (*connect.Response[skerryv1.ListTokensResponse], error) {
	view, freshness := s.read(ctx, false)
	response := &skerryv1.ListTokensResponse{Freshness: freshness}
	for _, record := range view.Tokens() {
		response.Tokens = append(response.Tokens, record.GetToken().GetToken())
	}
	return connect.NewResponse(response), nil
}

func (s site) Status(ctx context.Context, req *connect.Request[skerryv1.StatusRequest]) (*connect.Response[skerryv1.StatusResponse], error) {
	if err := guard.From(ctx).Ask(access.Read, access.Object{Kind: access.KindSite}); err != nil {
		return nil, err
	}
	view, freshness := s.read(ctx, req.Msg.GetStale())
	workloads := readable(ctx, view.Workloads())
	response := &skerryv1.StatusResponse{
		Site:          s.Site,
		SiteId:        view.SiteID(),
		SiteTime:      timestamppb.New(s.SiteTime.Read().Time),
		Coordinator:   s.coordinator().GetName(),
		Freshness:     freshness,
		Nodes:         readable(ctx, view.Nodes()),
		Workloads:     uint32(len(workloads)),
		MissingVoters: s.missingVoters(),
		Stop:          view.Stop(),
	}
	placements := readable(ctx, view.Placements())
	for _, p := range placements {
		if p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || p.GetReplacedBy() != "" || p.GetEnded() != nil {
			continue
		}
		response.Placements++
		if isHealthy(p) {
			response.Healthy++
		}
	}
	if r := view.Rebalance(); r != nil && r.GetEnded() == nil {
		response.Rebalance = r
	}
	response.Problems = slices.Concat(stopProblems(view.Stop()), recoveryProblems(view), brokenGlass(view.BrokenGlass(s.SiteTime.Read().Time)), rolloutProblems(view, workloads),
		findProblems(view, placements, response, s.Waiting()), backupProblems(view), trustRoom(view))
	// Of a stopped site there is nothing to lose.
	if view.Stop() == nil && freshness.GetQuorum() && !freshness.GetStale() && guard.From(ctx).May(access.Foresee, access.Object{Kind: access.KindSite}) {
		s.foretell(response, view.Index())
	}
	return connect.NewResponse(response), nil
}

// foretell what the site would not survive, and what would be elsewhere.
func (s site) foretell(response *skerryv1.StatusResponse, index uint64) {
	seen := s.foresight.now(s.Store)
	response.Weaknesses, response.WeaknessesIncomplete = seen.weak, seen.tried < seen.losses || seen.losses == 0
	response.Losses, response.LossesTried = uint32(seen.losses), uint32(seen.tried)
	response.Drifted, response.Misplaced = uint32(seen.drifted), uint32(seen.misplaced)
	if age := s.Clock.Elapsed() - seen.at; seen.index != index && age > 2*surveyEvery && seen.losses > 0 {
		response.ForeseenAge = durationpb.New(age)
	}
}

// readable are those of the resources that the caller may read.
func readable[T manifest.Object](ctx context.Context, all []T) []T {
	call := guard.From(ctx)
	return slices.DeleteFunc(all, func(o T) bool { return !call.May(access.Read, access.ObjectOf(manifest.Wrap(o))) })
}

// maxEvents bounds one answer.
const (
	defaultEvents = 100
	maxEvents     = 4096
)

func (s site) Events(ctx context.Context, req *connect.Request[skerryv1.EventsRequest], stream *connect.ServerStream[skerryv1.EventsResponse]) error {
	limit := int(req.Msg.GetLimit())
	if limit == 0 {
		limit = defaultEvents
	}
	limit = min(limit, maxEvents)
	after := req.Msg.GetAfter()
	changed := s.Store.Changed()
	_, freshness := s.read(ctx, false)
	view := s.Store.View() // what this node knows by itself is no event before the log has its time
	call := guard.From(ctx)
	for {
		call.Renew()
		for _, event := range selectEvents(call, view, req.Msg, after, limit) {
			if err := stream.Send(&skerryv1.EventsResponse{Event: event, Freshness: freshness}); err != nil {
				return err
			}
		}
		after, limit = max(after, view.Index()), maxEvents
		if !req.Msg.GetFollow() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil // the caller has hung up
		}
		changed = s.Store.Changed()
		view = s.Store.View()
		freshness = s.freshness(view, s.Log.Status().HasQuorum)
	}
}

// selectEvents are the last events that the request asks for, oldest first.
func selectEvents(call *guard.Call, view *state.View, req *skerryv1.EventsRequest, after uint64, limit int) []*skerryv1.Event {
	var events []*skerryv1.Event
	for _, event := range view.Events(after, 0) {
		if (req.GetKind() == "" || req.GetKind() == event.GetKind()) && (req.GetName() == "" || req.GetName() == event.GetName()) &&
			call.May(access.Read, present(view, event.GetKind(), event.GetProject(), event.GetName())) {
			events = append(events, event)
		}
	}
	return events[max(0, len(events)-limit):]
}
