package lease

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/guard"
	"skerry.dev/agent/reconcile"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// askTime bounds one request to the coordinator.
	askTime = 800 * time.Millisecond
	// checkGuard is how often the guard is asked whether it is there.
	checkGuard = 250 * time.Millisecond
	// startGuard is the shortest time between two starts of a guard, and decideTime
	// how long one may take until what ran before this agent counts as unguarded.
	startGuard = 2 * time.Second
	// lookForGuard is how often one that was started is looked for.
	lookForGuard = 20 * time.Millisecond
	decideTime   = 3 * time.Second
	// guardTime is how long a guard may be missing before people are told: it is being
	// started.
	guardTime = 3 * time.Second
	// maxRefused placements are named to people.
	maxRefused = 3
)

// Ledger keeps orders, and what began under a lease.
type Ledger interface {
	Current() *sitev1.Assignments
	Changed() <-chan struct{}
	Begun() []string
	KeepBegun([]string) error
}

// Guard of this machine, as guard.Client is.
type Guard interface {
	Check(ctx context.Context) (old bool, err error)
	Arm(ctx context.Context, id, target string, until, lease time.Duration) (time.Duration, error)
	// Anew arms what the guard has ended, and what never began.
	Anew(ctx context.Context, id, target string, until, lease time.Duration) (time.Duration, error)
	Drop(ctx context.Context, id string) error
	Thaw(ctx context.Context, id string) error
	List(ctx context.Context) ([]guard.Entry, error)
	End(ctx context.Context) error
}

// Config of a keeper. All fields are required.
type Config struct {
	Ledger Ledger
	Guard  Guard
	// StartGuard starts a guard process, which outlives this agent.
	StartGuard func() error
	// Target says what to kill for an instance, as runtime.Guarded does.
	Target func(id string, vm bool) string
	// Coordinator asks it for leases.
	Coordinator func(ctx context.Context, asks []*sitev1.LeaseAsk) (*sitev1.RenewLeasesResponse, error)
	Env         env.System
	Logger      *slog.Logger
}

// Keeper holds this node's leases.
type Keeper struct {
	Config

	// noting is held while what begins is noted on disk, from reading what is to be
	// noted on. It is taken before mu, which is never held over the disk: leases are
	// renewed without it.
	noting sync.Mutex

	mu      sync.Mutex
	holder  *Holder
	changed chan struct{}
	// present instances on this node; nil before the first look.
	present map[string]bool
	// wanted: there is something exclusive among the orders.
	wanted bool
	// missing is since when no guard answers though one is wanted; 0 while one does.
	missing time.Duration
	wake    chan struct{}
	// guarded are the entries of the guard, as far as they are known here. They,
	// started, began and failed belong to guardLoop.
	guarded map[string]bool
	started time.Duration
	began   time.Duration
	// failed is why the last start of a guard failed; nil when it did not.
	failed error
}

// New returns a keeper; Run makes it act.
func New(config Config) *Keeper {
	k := &Keeper{
		Config: config, holder: NewHolder(config.Ledger.Begun()), changed: make(chan struct{}), wake: make(chan struct{}, 1),
		guarded: map[string]bool{}, began: config.Env.Clock.Elapsed(),
	}
	k.want()
	return k
}

// want takes over the orders.
func (k *Keeper) want() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wanted = k.holder.Want(k.Ledger.Current().GetPlacements()); !k.wanted {
		k.missing = 0 // what is wrong with a guard that nobody needs is nothing to tell
		k.holder.Trouble("")
	}
}

// Permits implements supervisor.Leases.
func (k *Keeper) Permits() (map[string]reconcile.Permit, time.Duration) {
	k.want() // the supervisor obeys the same orders
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.holder.Permits(k.Env.Clock.Elapsed())
}

// Begin implements supervisor.Leases.
func (k *Keeper) Begin(id string) (time.Duration, error) {
	if !k.isExclusive(id) {
		return 0, nil
	}
	k.mu.Lock()
	end, isNew, may := k.holder.Begin(id, k.Env.Clock.Elapsed())
	k.mu.Unlock()
	if !may {
		return 0, problem.New(problem.Conflict, id, "it is exclusive, and this node holds no lease for it")
	}
	if isNew {
		if err := k.note(id); err != nil {
			return 0, err
		}
	}
	return end, nil
}

// note on disk what has begun, id with it.
func (k *Keeper) note(id string) error {
	k.noting.Lock()
	defer k.noting.Unlock()
	k.mu.Lock()
	begun := k.holder.Begun()
	k.mu.Unlock()
	err := k.Ledger.KeepBegun(begun)
	if err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.holder.unbegin(id)
	}
	return err
}

// Removing implements supervisor.Leases: what the guard has killed it holds frozen,
// until somebody who is awake removes it.
func (k *Keeper) Removing(ctx context.Context, id string) {
	k.mu.Lock()
	guarded := k.guarded[id]
	k.mu.Unlock()
	if !guarded {
		return
	}
	if err := k.Guard.Thaw(ctx, id); err != nil {
		k.Logger.Warn("the guard may keep something from being removed", "instance", id, "error", err)
	}
}

func (k *Keeper) isExclusive(id string) bool {
	for _, p := range k.Ledger.Current().GetPlacements() {
		if reconcile.InstanceID(p.GetProject(), p.GetName()) == id {
			return manifest.LeaseOf(p.GetSpec()) > 0
		}
	}
	return false
}

// Present implements supervisor.Leases.
func (k *Keeper) Present(ids []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.present = map[string]bool{}
	for _, id := range ids {
		k.present[id] = true
	}
}

// Lease is what is known of a placement's lease, for people.
func (k *Keeper) Lease(project, name string) (time.Duration, string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.holder.Lease(reconcile.InstanceID(project, name), k.Env.Clock.Elapsed())
}

// Trouble says why nothing exclusive can start here; empty when all is well, when
// there is nothing of the kind, and while a guard is being started.
func (k *Keeper) Trouble() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder.trouble == starting {
		return ""
	}
	return k.holder.trouble
}

// Refused says what the guard does not take over, and why; empty for nothing.
func (k *Keeper) Refused() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	ids, whys := k.holder.Refused(k.Env.Clock.Elapsed())
	var each []string
	for i := range ids[:min(len(ids), maxRefused)] {
		each = append(each, ids[i]+": "+whys[i])
	}
	if more := len(ids) - len(each); more > 0 {
		each = append(each, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(each, "; ")
}

// Changed implements supervisor.Leases.
func (k *Keeper) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// announce needs mu.
func (k *Keeper) announce() {
	close(k.changed)
	k.changed = make(chan struct{})
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps leases until ctx ends. What is held then, the next agent finds at the
// guard.
func (k *Keeper) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return k.askLoop(ctx) })
	group.Go(func() error { return k.guardLoop(ctx) })
	return group.Wait()
}

// askLoop asks the coordinator, one request at a time.
func (k *Keeper) askLoop(ctx context.Context) error {
	timer := k.Env.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		ordersChanged, leasesChanged := k.Ledger.Changed(), k.Changed()
		k.want()
		sent := k.Env.Clock.Elapsed()
		k.mu.Lock()
		asks, wait := k.holder.Ask(sent)
		k.mu.Unlock()
		if len(asks) > 0 {
			k.ask(ctx, sent, asks)
			continue
		}
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-ordersChanged:
		case <-leasesChanged:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask once. The leases count from sent, whatever happens to the request.
func (k *Keeper) ask(ctx context.Context, sent time.Duration, asks []*sitev1.LeaseAsk) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	response, err := k.Coordinator(ctx, asks)
	if err != nil {
		k.Logger.Debug("no lease was granted", "error", err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if olderTerm(response.GetOrder(), k.Ledger.Current().GetOrder()) {
		k.Logger.Warn("leases of a coordinator that has been replaced count for nothing", "term", response.GetOrder().GetTerm())
		return
	}
	k.holder.Answered(sent, asks, response.GetAnswers())
	k.announce()
}

// olderTerm: whoever answers leads no more (SAFETY, rule 1).
func olderTerm(answers, seen *sitev1.Order) bool {
	if answers.GetSiteEpoch() != seen.GetSiteEpoch() {
		return answers.GetSiteEpoch() < seen.GetSiteEpoch()
	}
	return answers.GetTerm() < seen.GetTerm()
}

// guardLoop keeps a guard, and tells it of leases.
func (k *Keeper) guardLoop(ctx context.Context) error {
	timer := k.Env.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		ordersChanged := k.Ledger.Changed()
		k.want()
		pause := time.Hour
		if k.needed() {
			pause = checkGuard
			k.keepGuard(ctx)
		}
		timer.Reset(pause)
		select {
		case <-k.wake:
		case <-ordersChanged:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// needed: something is exclusive here, or the guard may still hold something.
func (k *Keeper) needed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wanted || len(k.guarded) > 0 || !k.holder.decided
}

// keepGuard starts one if there is none, and tells it what it does not know.
func (k *Keeper) keepGuard(ctx context.Context) {
	entries, err := k.look(ctx)
	k.decide(entries, err)
	k.trouble(err)
	if err != nil {
		return
	}
	k.mu.Lock()
	clear(k.guarded)
	for _, e := range entries {
		k.guarded[e.ID] = true
	}
	if k.holder.Knows(entries) {
		k.announceChange()
	}
	arms := k.holder.Untold(k.Env.Clock.Elapsed())
	gone := k.leftOver()
	k.mu.Unlock()
	Tell(arms, func(arm Arm) (time.Duration, error) { return k.tell(ctx, arm) }, k.took)
	for _, id := range gone {
		if err := k.Guard.Drop(ctx, id); err != nil {
			k.Logger.Debug("the guard still holds what is gone", "instance", id, "error", err)
			return
		}
		k.mu.Lock()
		delete(k.guarded, id)
		k.mu.Unlock()
	}
}

// tell the guard of a lease.
func (k *Keeper) tell(ctx context.Context, arm Arm) (kill time.Duration, err error) {
	target := k.Target(arm.ID, arm.Machine)
	if arm.Anew {
		return k.Guard.Anew(ctx, arm.ID, target, arm.Until, arm.Lease)
	}
	return k.Guard.Arm(ctx, arm.ID, target, arm.Until, arm.Lease)
}

// took notes what came of telling it.
func (k *Keeper) took(arm Arm, kill time.Duration, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.guarded[arm.ID] = true
	}
	if !k.holder.Took(arm, kill, err, k.Env.Clock.Elapsed()) {
		return
	}
	if err != nil {
		k.Logger.Warn("the guard does not take a lease over", "instance", arm.ID, "error", err)
	}
	k.announceChange()
}

// announceChange without waking this loop. It needs mu.
func (k *Keeper) announceChange() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// leftOver are guarded, but neither among the orders nor on this node any more.
// It needs mu.
func (k *Keeper) leftOver() []string {
	var gone []string
	for id := range k.guarded {
		if k.present != nil && !k.present[id] && k.holder.held[id] == nil {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	return gone
}

// look at what the guard holds, and start one if there is none.
func (k *Keeper) look(ctx context.Context) ([]guard.Entry, error) {
	old, err := k.Guard.Check(ctx)
	if old {
		k.Logger.Info("a guard of another version is replaced")
		if failed := k.Guard.End(ctx); failed != nil {
			return nil, failed
		}
	}
	if err == nil {
		return k.Guard.List(ctx)
	}
	k.mu.Lock()
	wanted := k.wanted
	if k.missing = cmp.Or(k.missing, k.Env.Clock.Elapsed()); !wanted {
		k.missing = 0
	}
	k.mu.Unlock()
	if now := k.Env.Clock.Elapsed(); wanted && (k.started == 0 || now-k.started >= startGuard) {
		k.started, k.failed = now, nil
		if failed := k.StartGuard(); failed != nil {
			k.failed = problem.New(problem.Internal, "guard", "it cannot be started: %w", failed)
		} else if k.awaitGuard(ctx) {
			return k.Guard.List(ctx)
		}
	}
	if k.failed != nil {
		return nil, k.failed // until another start went better
	}
	return nil, err
}

// awaitGuard waits for one that was just started; false when it does not come.
func (k *Keeper) awaitGuard(ctx context.Context) bool {
	for k.Env.Clock.Elapsed()-k.started < startGuard {
		if env.Sleep(ctx, k.Env.Clock, lookForGuard) != nil {
			return false
		}
		if _, err := k.Guard.Check(ctx); err == nil {
			return true
		}
	}
	return false
}

// decide once what becomes of what ran here before this agent did.
func (k *Keeper) decide(entries []guard.Entry, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder.decided || (err != nil && k.wanted && k.Env.Clock.Elapsed()-k.began < decideTime) {
		return
	}
	k.holder.Decide(entries)
	k.announceChange()
}

// starting is what people read of a placement while the guard is being started.
const starting = "the guard of this machine is being started"

// trouble takes in whether a guard answers: a change is told, and nobody is woken
// who looks again anyhow.
func (k *Keeper) trouble(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	why := ""
	switch now := k.Env.Clock.Elapsed(); {
	case err == nil || !k.wanted:
		k.missing = 0
	case k.missing > 0 && now-k.missing >= guardTime:
		why = err.Error()
	default:
		why = starting
		k.missing = cmp.Or(k.missing, now)
	}
	if k.holder.trouble == why {
		return
	}
	switch k.holder.Trouble(why); why {
	case "":
	case starting:
		k.Logger.Info(starting, "reason", err)
	default:
		k.Logger.Error("nothing exclusive can be started on this node", "reason", why)
	}
	k.announceChange()
}
