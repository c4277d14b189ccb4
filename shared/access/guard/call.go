package guard

import (
	"context"
	"errors"
	"sync"

	"skerry.dev/shared/access"
	"skerry.dev/shared/problem"
)

// Call is one call on its way through its handler: who makes it, and what was
// asked about it. It is safe for concurrent use.
type Call struct {
	guard *Guard
	who   access.Principal
	rule  access.Rule

	mu    sync.Mutex
	judge *access.Judge
	// asked are the questions that were answered with yes, in order; seen tells
	// that a handler has begun to ask.
	asked []func(*access.Judge) error
	seen  bool
}

type callKey struct{}

// From returns the call that a handler answers. A handler that decides about
// each object must take it: what it answers otherwise does not leave.
func From(ctx context.Context) *Call {
	c, ok := ctx.Value(callKey{}).(*Call)
	if !ok {
		// No guard is in front: nobody has decided anything, so nobody may.
		return &Call{guard: &Guard{}}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = true
	return c
}

// Who makes the call.
func (c *Call) Who() access.Principal { return c.who }

// Verb of the call.
func (c *Call) Verb() string { return c.rule.GetVerb() }

// Ask refuses the call if the caller may not.
func (c *Call) Ask(verb string, object access.Object) error {
	return c.Require(func(judge *access.Judge) error { return c.refusal(judge, verb, object) })
}

// askAsItIs is Ask about an object with the labels that it has whenever this is
// asked.
func (c *Call) askAsItIs(verb string, object access.Object) error {
	return c.Require(func(judge *access.Judge) error {
		now := object
		if c.guard.config.Labels != nil && now.Name != "" {
			now.Labels = c.guard.config.Labels(now.Kind, now.Project, now.Name)
		}
		return c.refusal(judge, verb, now)
	})
}

func (c *Call) refusal(judge *access.Judge, verb string, object access.Object) error {
	if verdict := judge.Decide(c.who, verb, object); !verdict.Allowed {
		return access.Refusal(c.who, verb, object, verdict)
	}
	return nil
}

// Require refuses the call if the condition does not hold. It is asked again
// when the records change before the call's change is in the log.
func (c *Call) Require(condition func(*access.Judge) error) error {
	judge := c.judged()
	if judge == nil {
		return errNobodyDecides()
	}
	if err := condition(judge); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, condition)
	return nil
}

// May tells whether the caller may, for answers that leave out what the caller
// may not see.
func (c *Call) May(verb string, object access.Object) bool {
	judge := c.judged()
	return judge != nil && judge.Decide(c.who, verb, object).Allowed
}

// Judge that decides this call; nil when nobody does.
func (c *Call) Judge() *access.Judge { return c.judged() }

// judged is one judge for the whole call, so that its answers agree.
func (c *Call) judged() *access.Judge {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.judge == nil && c.guard.config.Judge != nil {
		c.judge = c.guard.config.Judge()
	}
	return c.judge
}

// Renew makes later answers those of the newest records: for calls that last.
func (c *Call) Renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guard.config.Judge != nil {
		c.judge = c.guard.config.Judge()
	}
}

// Revision of the records by which the call was judged.
func (c *Call) Revision() uint64 {
	if judge := c.judged(); judge != nil {
		return judge.Revision()
	}
	return 0
}

// Again asks by the newest records all that was asked before.
func (c *Call) Again() error {
	c.Renew()
	c.mu.Lock()
	judge, asked := c.judge, c.asked
	c.mu.Unlock()
	if judge == nil {
		return errNobodyDecides()
	}
	var refused []error
	for _, condition := range asked {
		refused = append(refused, condition(judge))
	}
	return errors.Join(refused...)
}

func (c *Call) wasAsked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

func errNobodyDecides() error {
	return problem.New(problem.Forbidden, "", "nobody decides here who may do this, so nobody may")
}
