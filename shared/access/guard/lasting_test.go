package guard

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"skerry.dev/shared/access"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// world is what calls are judged by.
type world struct {
	mu      sync.Mutex
	changed chan struct{}
	records *sitev1.AccessRecords
	labels  map[string]string
}

func (w *world) change(how func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	how()
	w.records.Revision++
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// newWorld in which kim may see the logs of what is open.
func newWorld() (*world, *Guard) {
	w := &world{
		changed: make(chan struct{}), labels: map[string]string{"open": "yes"},
		records: &sitev1.AccessRecords{
			Revision:  1,
			Operators: []*sitev1.OperatorRecord{{Name: "kim"}, {Name: "mia", Grants: []*skerryv1.Grant{{Role: "viewer"}}}},
			Policies: []*skerryv1.AccessPolicy{{Name: "open", Policy: `permit (principal, action == Action::"logs", resource is Placement)
when { resource.hasTag("open") };`}},
		},
	}
	return w, New(Config{
		Judge: func() *access.Judge {
			w.mu.Lock()
			defer w.mu.Unlock()
			return access.Compile(w.records)
		},
		Labels: func(string, string, string) map[string]string {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.labels
		},
	})
}

func (g *Guard) logsOf(who string) (*Call, error) {
	call := &Call{guard: g, who: access.PrincipalOf(who), rule: access.RuleOf("/skerry.v1.PlacementService/Logs")}
	return call, call.judgeRequest(&skerryv1.LogsRequest{Placement: "web-1"})
}

func TestACallThatLastsEndsWhenItsCallerMayNotAnyMore(t *testing.T) {
	kim, mia, till := "spiffe://reef/operator/kim", "spiffe://reef/operator/mia", "spiffe://reef/workload/shop/till"
	close := func(w *world) { w.labels = nil }
	for name, test := range map[string]struct {
		who    string
		change func(*world)
		ends   bool
	}{
		"the label that opened it is gone":     {kim, close, true},
		"a workload, likewise":                 {till, close, true},
		"it had a role besides":                {mia, close, false},
		"the policy is gone":                   {kim, func(w *world) { w.records.Policies = nil }, true},
		"the operator is gone":                 {kim, func(w *world) { w.records.Operators = nil }, true},
		"the role is gone, the label is there": {mia, func(w *world) { w.records.Operators[1].Grants = nil }, false},
		"something else has changed":           {kim, func(w *world) { w.labels = map[string]string{"open": "yes", "tier": "front"} }, false},
		"another policy forbids it": {mia, func(w *world) {
			w.records.Policies = append(w.records.Policies, &skerryv1.AccessPolicy{Name: "no", Policy: `forbid (principal, action == Action::"logs", resource);`})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, g := newWorld()
				call, err := g.logsOf(test.who)
				if err != nil {
					t.Fatal(err)
				}
				ctx, end := call.Lasting(t.Context(), env.NewSystem().Clock, w.Changed)
				synctest.Wait()
				if ctx.Err() != nil {
					t.Fatal("it ended before anything changed")
				}
				w.change(func() { test.change(w) })
				_ = env.Sleep(t.Context(), env.NewSystem().Clock, 2*askAgain) // in the bubble
				synctest.Wait()
				if ended := ctx.Err() != nil; ended != test.ends {
					t.Errorf("it ended: %v", ended)
				}
				other := errors.New("the handler's own")
				if err := end(other); (problem.KindOf(err) == problem.Forbidden) != test.ends || !test.ends && !errors.Is(err, other) {
					t.Errorf("it gave %v", err)
				}
			})
		})
	}
}

func TestACallThatIsNotJudgedByPoliciesGoesOn(t *testing.T) {
	w, g := newWorld()
	call := &Call{guard: g, who: access.PrincipalOf("spiffe://reef/node/n1")}
	ctx, end := call.Lasting(context.Background(), env.NewSystem().Clock, w.Changed)
	w.change(func() { w.records.Policies = nil })
	if ctx.Err() != nil {
		t.Error("it ended")
	}
	if err := end(nil); err != nil {
		t.Error(err)
	}
}
