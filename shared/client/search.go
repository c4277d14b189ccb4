package client

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

const (
	// locateTimeout bounds the question to one node.
	locateTimeout = time.Second
	// askNext is how long a node may be silent until the next one is asked as well.
	askNext = 150 * time.Millisecond
	// waitBetter is how long a better answer is waited for than the one at hand: a
	// handshake and an answer in a site that can elect a coordinator take less.
	waitBetter = 300 * time.Millisecond
	// maxAsked bounds the questions under way.
	maxAsked = 8
)

// search finds whom to send requests to. It prefers
//
//  1. the coordinator,
//  2. a voter with quorum,
//  3. a voter without, those first whose addresses were given,
//  4. a node that answers for itself, likewise,
//
// and of equals the one that was to be asked first: where requests go, the given addresses in
// their order, after each of them the voters that it names, those that were named last time. One that is silent for
// askNext has the next one asked beside it, one that fails at once. As soon as there
// is an answer all others are asked beside each other, or the coordinator alone if
// one with quorum names it, and what is better has waitBetter to come: anew when
// something better has come, or somebody was named who was not known. A node that
// would only pass requests on to the voters that it names is taken when nobody
// else answers.
type search struct {
	client *Client
	queue  []*candidate // to be asked, in order
	asked  []*candidate // in the order in which that began
}

type candidate struct {
	address string
	given   bool
	done    bool
	answer  *skerryv1.LocateResponse // nil until it has answered
	err     error
}

type outcome struct {
	of     *candidate
	answer *skerryv1.LocateResponse
	err    error
}

func newSearch(c *Client) *search {
	s := &search{client: c}
	if c.base != "" { // it was well a moment ago, and knows the coordinator
		s.queue = append(s.queue, &candidate{address: c.base, given: slices.Contains(c.addresses, c.base)})
	}
	for _, address := range c.addresses {
		if s.find(address) == nil {
			s.queue = append(s.queue, &candidate{address: address, given: true})
		}
	}
	for _, address := range c.voters {
		if s.find(address) == nil {
			s.queue = append(s.queue, &candidate{address: address})
		}
	}
	return s
}

// run returns the best that answers, nil if nobody does. All questions have ended
// when it returns.
func (s *search) run(ctx context.Context) *candidate {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	outcomes := make(chan outcome, maxAsked)
	rest := pauseFor(ctx, 0) // the first one is asked at once
	defer func() { rest.end() }()
	for underway := 0; ; {
		best := s.best()
		for len(s.queue) > 0 && underway < maxAsked && (best != nil || rest.over()) {
			next := s.queue[0]
			s.queue, s.asked = s.queue[1:], append(s.asked, next)
			underway++
			asking.Go(func() {
				answer, err := s.client.ask(ctx, next.address)
				outcomes <- outcome{next, answer, err}
			})
			if best == nil {
				rest = pauseFor(ctx, askNext)
			}
		}
		final := best != nil && !best.passesOn()
		if underway == 0 || ctx.Err() != nil || final && (rest.over() || s.decided()) {
			return best
		}
		wake := rest.done
		if !final && (len(s.queue) == 0 || underway == maxAsked) {
			wake = ctx.Done() // nobody else can be asked meanwhile
		}
		select {
		case <-wake:
		case o := <-outcomes:
			underway--
			o.of.done, o.of.answer, o.of.err = true, o.answer, o.err
			switch {
			case o.err != nil && best != nil:
			case o.err != nil:
				rest.end() // the next one is asked at once
			case s.follow(o.of) || !final || s.best().rank() > best.rank():
				rest.end()
				rest = pauseFor(ctx, waitBetter)
			}
		}
	}
}

// pause before something else is done, which may end early.
type pause struct {
	done <-chan struct{}
	end  func()
}

func pauseFor(ctx context.Context, d time.Duration) pause {
	ctx, cancel := context.WithTimeout(ctx, d)
	return pause{ctx.Done(), cancel}
}

func (p pause) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// follow lets those be asked next whom a node names, and tells whether one of them
// was not known.
func (s *search) follow(c *candidate) (found bool) {
	voters := c.answer.GetVoters()
	voters = voters[:min(len(voters), maxAsked)]
	switch quorum := c.answer.GetQuorum(); {
	case s.client.Direct && c.answer.GetVoter(), !c.given && !quorum:
		return false
	case quorum:
		s.queue, voters = nil, voters[:min(len(voters), 1)]
	}
	for _, voter := range slices.Backward(voters) {
		next := s.find(voter)
		if slices.Contains(s.asked, next) {
			continue
		}
		if next == nil {
			next, found = &candidate{address: voter}, true
		}
		s.queue = append([]*candidate{next}, slices.DeleteFunc(s.queue, func(c *candidate) bool { return c == next })...)
	}
	return found
}

func (s *search) find(address string) *candidate {
	for _, list := range [][]*candidate{s.asked, s.queue} {
		for _, c := range list {
			if c.address == address {
				return c
			}
		}
	}
	return nil
}

// decided: nobody better than who has answered is awaited.
func (s *search) decided() bool {
	return slices.ContainsFunc(s.asked, func(c *candidate) bool {
		if !c.answer.GetQuorum() {
			return false
		}
		leader := s.find(c.coordinator())
		return leader == nil || leader.done
	})
}

// best that has answered so far.
func (s *search) best() *candidate {
	var best *candidate
	for _, c := range s.asked {
		if c.answer != nil && (best == nil || c.rank() > best.rank()) {
			best = c
		}
	}
	return best
}

func (c *candidate) rank() int {
	switch answer := c.answer; {
	case answer.GetQuorum() && c.coordinator() == c.address:
		return 5
	case answer.GetQuorum():
		return 4
	case answer.GetVoter() && c.given:
		return 3
	case answer.GetVoter():
		return 2
	case c.given:
		return 1
	}
	return 0
}

// passesOn: a node that does not vote answers for itself only if it reaches no voter.
func (c *candidate) passesOn() bool {
	return !c.answer.GetVoter() && len(c.answer.GetVoters()) > 0
}

// coordinator is whom a voter names first.
func (c *candidate) coordinator() string {
	if voters := c.answer.GetVoters(); len(voters) > 0 {
		return voters[0]
	}
	return ""
}

// failures, in the order in which the nodes were asked.
func (s *search) failures() []error {
	var all []error
	for _, c := range s.asked {
		if c.err != nil {
			all = append(all, c.err)
		}
	}
	return all
}

func (c *Client) ask(ctx context.Context, address string) (*skerryv1.LocateResponse, error) {
	patience := cmp.Or(c.Patience, locateTimeout)
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	response, err := skerryv1connect.NewSiteServiceClient(c.http, "https://"+address, options...).
		Locate(asking, connect.NewRequest(&skerryv1.LocateRequest{}))
	switch {
	case err == nil:
		return response.Msg, nil
	case asking.Err() != nil && ctx.Err() == nil:
		return nil, problem.New(problem.Unavailable, address, "no answer within %s", patience)
	}
	return nil, notLocated(err)
}
