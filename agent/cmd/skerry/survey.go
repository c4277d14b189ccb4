package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// askTime bounds the question to one node, surveyTime that to all of them: of more
	// than a thousand that are off some are not asked, none of which holds a log.
	askTime, surveyTime = 2 * time.Second, 8 * time.Second
	// maxAsked nodes at once.
	maxAsked = 256
)

// survey looks for the nodes of a site before this machine begins its next epoch: no
// second site is made of one that lives.
type survey struct {
	net  env.Net
	as   mtls.Source
	view *state.View
	// self is this machine; survives: it is one of the voters.
	self     *skerryv1.Node
	survives bool
	// last is where that ends with which the site would go on, and here what that is.
	last consensus.Last
	here string
	// instead says what to do.
	instead instead
}

// instead of beginning a site epoch: when the site has a coordinator, when it was
// recovered already, when a log is newer, when a majority is in reach, and when a node
// refuses whom this machine claims to be; empty where that keeps it from nothing.
type instead struct{ led, recovered, newer, majority, refused string }

// answer of a node; without one it was not reached or, when it refused, does not believe
// who asks.
type answer struct {
	*sitev1.PingResponse
	refused bool
}

// look asks all nodes. It refuses when one of them knows better, and says of those who
// were not heard what that means.
func (s *survey) look(ctx context.Context) (unheard string, err error) {
	silent, err := s.judge(s.ask(ctx))
	if err != nil || len(silent) == 0 {
		return "", err
	}
	return fmt.Sprintf("Not reached: %s.\nThey are fenced when they learn of it, not before: be sure that those of them that voted are off.\n"+
		"What stays on them, or is exclusive there, is left alone until each is heard or confirmed off.\n", strings.Join(silent, ", ")), nil
}

// ask all other nodes of the site where their logs end, first those that hold one.
func (s *survey) ask(ctx context.Context) map[string]answer {
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	dialer := &mtls.Dialer{Net: s.net, Source: s.as}
	answers := map[string]answer{}
	var mu sync.Mutex
	var calls sync.WaitGroup
	slots := make(chan struct{}, maxAsked)
	nodes := s.view.Nodes()
	slices.SortStableFunc(nodes, func(a, b *skerryv1.Node) int { return cmp.Compare(b.GetVoter(), a.GetVoter()) })
	for _, node := range nodes {
		if s.isSelf(node) || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			got := askNode(ctx, dialer, node)
			mu.Lock()
			defer mu.Unlock()
			answers[node.GetName()] = got
		})
	}
	calls.Wait()
	return answers
}

// isSelf tells whether a node is this machine, which may also have taken the place of
// another one at its address.
func (s *survey) isSelf(node *skerryv1.Node) bool {
	return node.GetName() == s.self.GetName() && (s.survives || node.GetAddress() == s.self.GetAddress())
}

func askNode(ctx context.Context, dialer *mtls.Dialer, node *skerryv1.Node) answer {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	client := dialer.HTTPClient(mtls.Peer, mtls.ExpectNode(node.GetName()))
	defer client.CloseIdleConnections()
	got, err := sitev1connect.NewPeerServiceClient(client, "https://"+node.GetAddress()).Ping(ctx, connect.NewRequest(&sitev1.PingRequest{}))
	if err != nil {
		return answer{refused: refuses(ctx, dialer, node)}
	}
	return answer{PingResponse: got.Msg}
}

// refuses tells whether a node is there and does not believe who asks. HTTP/2 does not
// tell for certain: it may write, and fail, before it has read so.
func refuses(ctx context.Context, dialer *mtls.Dialer, node *skerryv1.Node) bool {
	conn, err := dialer.Dial(ctx, node.GetAddress(), mtls.Peer, mtls.ExpectNode(node.GetName()))
	if err != nil {
		return false
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // it has said nothing in time
	defer stop()
	_, err = conn.Read(make([]byte, 1))
	_ = conn.Close() // nothing was sent
	return problem.KindOf(err) == problem.Unauthenticated
}

// judge refuses when somebody knows better; it returns who was not reached.
func (s *survey) judge(answers map[string]answer) (silent []string, err error) {
	refuse := func(hint, format string, args ...any) ([]string, error) {
		return nil, problem.New(problem.Conflict, "site "+s.view.Site(), format, args...).WithHint("nothing was changed; %s", hint)
	}
	voters, reached := 0, 0
	if s.survives {
		reached++
	}
	for _, node := range s.view.Nodes() {
		votes := node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED
		if votes {
			voters++
		}
		got, asked := answers[node.GetName()]
		if !asked {
			continue
		}
		theirs := consensus.Last{Term: got.GetLastTerm(), Index: got.GetLastIndex()}
		same := got.GetSiteEpoch() == s.view.SiteEpoch() // who was left behind by an epoch may have counted on in the one before
		switch {
		case got.refused && s.instead.refused != "":
			return refuse(s.instead.refused, "%s is there, and refuses whoever comes with %s", where(node), s.here)
		case got.PingResponse == nil:
			silent = append(silent, nodeWords(node, got))
		case got.GetSiteEpoch() > s.view.SiteEpoch():
			return refuse(s.instead.recovered, "it was recovered already: %s is in site epoch %d", where(node), got.GetSiteEpoch())
		case got.GetQuorum():
			return refuse(s.instead.led, "%s reaches a coordinator", where(node))
		case same && theirs.Newer(s.last):
			hint := s.instead.newer
			if node.GetWitness() {
				hint = "a witness cannot recover the site: to go on without what it alone holds, stop its agent meanwhile: systemctl stop skerry"
			}
			return refuse(hint, "%s has a newer log: it ends at %d.%d, %s at %d.%d", where(node), theirs.Term, theirs.Index, s.here, s.last.Term, s.last.Index)
		case same && got.GetOpening():
			return refuse("try again in a moment; if it stays so, stop its agent meanwhile", "the replica of the log on %s does not answer yet: what it holds may be newer", where(node))
		case votes && same && theirs.Index > 0:
			reached++
		}
	}
	if 2*reached > voters {
		return refuse(s.instead.majority, "%d of %d voters are in reach: that is a majority, and the quorum comes back by itself", reached, voters)
	}
	return silent, nil
}

func where(node *skerryv1.Node) string {
	return fmt.Sprintf("%s (%s)", node.GetName(), node.GetAddress())
}

func nodeWords(node *skerryv1.Node, got answer) string {
	var words []string
	if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
		words = append(words, "voter", node.GetAddress())
	}
	if got.refused {
		words = append(words, "it refuses this machine")
	}
	if len(words) == 0 {
		return node.GetName()
	}
	return fmt.Sprintf("%s (%s)", node.GetName(), strings.Join(words, ", "))
}
