package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// TestAnythingMayHappen lets random things happen to a site and its
// workloads. Each step is checked by site.step: asked twice it proposes the
// same, and the state takes all of a plan.
func TestAnythingMayHappen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			w.event(t)
		}
		w.mend()
		w.wantConverged()
	})
}

// world is a site with a few workloads that are changed all the time.
type world struct {
	*site
	// most replicas that each workload ever asked for.
	most map[string]int
}

var workloadNames = []string{"agent", "db", "load", "one", "tick", "web"}

func newWorld(t *rapid.T) *world {
	zones := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "zones")]
	w := &world{site: newSite(t, rapid.IntRange(1, 6).Draw(t, "nodes"), zones...), most: map[string]int{}}
	w.tick = 200 * time.Millisecond
	w.check, w.planned = w.checkState, w.checkPlan
	w.pass(time.Second)
	return w
}

func (w *world) event(t *rapid.T) {
	name := rapid.SampledFrom(w.names()).Draw(t, "node")
	node := w.nodes[name]
	node.sickOf = "bad"
	switch rapid.SampledFrom([]string{
		"apply", "apply", "delete", "delete placement", "off", "cut", "back", "back", "sick", "exit", "exit", "deaf", "gossip", "new term", "join", "remove", "drain", "drain", "maintenance", "cordon", "return", "steer", "steer", "rebalance", "rebalance", "stop rebalance", "pass", "pass", "pass",
	}).Draw(t, "event") {
	case "apply":
		w.applyAny(t)
	case "delete":
		w.delete("Workload", rapid.SampledFrom(workloadNames).Draw(t, "workload"))
	case "delete placement":
		if all := w.view().Placements(); len(all) > 0 {
			w.delete("Placement", rapid.SampledFrom(all).Draw(t, "placement").GetName())
		}
	case "off":
		node.off = name != "n1"
	case "cut":
		node.cut = name != "n1"
	case "back":
		node.off, node.cut = false, false
	case "sick":
		node.sick = !node.sick
	case "exit":
		node.exit = rapid.SampledFrom([]skerryv1.Phase{skerryv1.Phase_PHASE_UNSPECIFIED, succeeds, succeeds, fails}).Draw(t, "exit")
	case "deaf":
		node.deaf = !node.deaf
	case "gossip":
		if rapid.Bool().Draw(t, "alive") {
			w.core.GossipAlive(name, w.now)
		} else {
			w.core.GossipFailed(name, w.now)
		}
	case "new term":
		w.newTerm()
	case "steer":
		w.try(&sitev1.Entry{Change: &sitev1.Entry_SteerRollout{SteerRollout: &sitev1.SteerRollout{
			Project: "default", Workload: rapid.SampledFrom(workloadNames).Draw(t, "workload"),
			Action: skerryv1.SteerAction(rapid.IntRange(1, 5).Draw(t, "action")),
		}}})
	case "rebalance":
		w.rebalance(time.Duration(rapid.IntRange(1, 30).Draw(t, "deadline")) * w.tick)
	case "stop rebalance":
		w.apply(&sitev1.Entry{Change: &sitev1.Entry_StopRebalance{StopRebalance: &sitev1.StopRebalance{}}})
	case "join":
		if len(w.nodes) < 8 {
			w.join(fmt.Sprintf("n%d", len(w.nodes)+1), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone"))
		}
	case "remove":
		// An operator removes only what is off for good.
		if node.off && w.delete("Node", name).GetErrorKind() == "" {
			clear(node.running)
		}
	case "drain":
		w.duty(name, drained, time.Duration(rapid.IntRange(1, 30).Draw(t, "deadline"))*w.tick)
	case "maintenance":
		w.duty(name, maintenance)
	case "cordon":
		w.duty(name, cordoned)
	case "return":
		w.duty(name, inService)
	case "pass":
		w.pass(time.Duration(rapid.IntRange(1, 30).Draw(t, "ticks")) * w.tick)
	}
	w.check()
}

func (w *world) applyAny(t *rapid.T) {
	name := rapid.SampledFrom(workloadNames).Draw(t, "workload")
	replicas := rapid.IntRange(0, 5).Draw(t, "replicas")
	if form := formOf(name); form != nil {
		form = append(form, args(fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "template"))))
		if rapid.Bool().Draw(t, "restricted") {
			form = append(form, inZone("a"))
		}
		w.applyWorkload(testWorkload(name, 0, form...))
		return
	}
	changes := []func(*skerryv1.Workload){args(rapid.SampledFrom([]string{"0", "1", "2", "bad"}).Draw(t, "template"))}
	if name == "db" {
		changes = append(changes, stays)
	} else {
		changes = append(changes, replaceAfter(rapid.SampledFrom([]string{"0s", "3s"}).Draw(t, "replace after")))
	}
	changes = append(changes, updates(anyUpdate(t, name != "db")))
	if rapid.IntRange(0, 3).Draw(t, "restricted") == 0 {
		changes = append(changes, func(x *skerryv1.Workload) {
			x.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "zone", In: []string{"a"}}}}
		})
	}
	changes = append(changes, minAvailable(rapid.SampledFrom([]string{"", "1", "50%", "100%"}).Draw(t, "min available")))
	changes = append(changes, func(x *skerryv1.Workload) {
		x.Container.Resources = &skerryv1.Resources{Cpu: rapid.SampledFrom([]string{"100m", "300m"}).Draw(t, "cpu"), Memory: "64Mi"}
	})
	w.most[name] = max(w.most[name], replicas)
	w.applyWorkload(testWorkload(name, uint32(replicas), changes...))
}

// formOf a workload that has not just replicas.
func formOf(name string) []func(*skerryv1.Workload) {
	switch name {
	case "agent":
		return []func(*skerryv1.Workload){func(w *skerryv1.Workload) { w.Replicas, w.PerNode = nil, true }}
	case "load", "tick":
		return []func(*skerryv1.Workload){func(w *skerryv1.Workload) {
			w.Replicas, w.RunToCompletion = nil, &skerryv1.RunToCompletion{Completions: 3, Parallelism: 2}
			if name == "tick" {
				w.Schedule = &skerryv1.Schedule{Cron: "* * * * *"}
			}
		}}
	default:
		return nil
	}
}

// checkForms holds at every moment: never two on one node of what runs once on
// each, never more of a run than it asks for, and no moment of a schedule has two
// runs.
func (w *world) checkForms() {
	w.t.Helper()
	for _, node := range w.nodes {
		here := 0
		for name := range node.running {
			if workloadOf(name) == "agent" {
				here++
			}
		}
		if here > 1 {
			w.t.Fatalf("%d agents run on one node:\n%s", here, w.describe())
		}
	}
	for _, name := range []string{"load", "tick"} {
		workload := w.view().Workload("default", name)
		due := map[string]bool{}
		for _, run := range workload.GetStatus().GetRuns() {
			counted := 0
			for _, p := range w.view().PlacementsOf("default", name) {
				if p.GetRun() == run.GetNumber() && state.Counts(p) {
					counted++
				}
			}
			if counted > manifest.WantedOf(workload, run) {
				w.t.Fatalf("run %d of %s has %d placements, wants %d:\n%s", run.GetNumber(), name, counted, manifest.WantedOf(workload, run), w.describe())
			}
			if at := run.GetDue().AsTime().String(); run.GetDue() != nil && due[at] {
				w.t.Fatalf("%s ran twice at %s", name, at)
			} else {
				due[at] = true
			}
		}
	}
}

// checkState holds at every moment: what stays never runs more often than it
// was asked for, and nodes hold what is bound to them.
func (w *world) checkState() {
	w.t.Helper()
	w.checkForms()
	running := 0
	for _, node := range w.nodes {
		for name := range node.running {
			if workloadOf(name) == "db" {
				running++
			}
		}
	}
	if running > w.most["db"] {
		w.t.Fatalf("db stays, and runs %d times of %d:\n%s", running, w.most["db"], w.describe())
	}
	for _, node := range w.view().Nodes() {
		usage := state.UsageOf(w.view().PlacementsOn(node.GetName()))
		if usage.CPUMilli > node.GetCapacity().GetCpuMilli() {
			w.t.Fatalf("%dm on node %s:\n%s", usage.CPUMilli, node.GetName(), w.describe())
		}
	}
}

func workloadOf(placement string) string {
	for _, name := range workloadNames {
		if len(placement) > len(name) && placement[:len(name)+1] == name+"-" {
			return name
		}
	}
	return ""
}

// checkPlan looks at what one plan did.
func (w *world) checkPlan(before *state.View, plan *sitev1.Plan) {
	w.t.Helper()
	after := w.view()
	for _, workload := range after.Workloads() {
		had, has := countAll(before, workload), countAll(after, workload)
		rollout := before.Rollout(workload.GetProject(), workload.GetName())
		beside := rollout.Surge(workload, before.PlacementsOf(workload.GetProject(), workload.GetName()))
		// What does not move after all counts again.
		if len(plan.GetEndDrains())+len(plan.GetRebalanced()) == 0 && has > max(had, manifest.Wanted(workload)+beside) {
			w.t.Fatalf("%s had %d placements of %d, and has %d:\n%s", workload.GetName(), had, manifest.Wanted(workload), has, w.describe())
		}
		w.checkShare(workload, before, after)
		for _, removal := range plan.GetRemove() {
			p := before.Placement(removal.GetProject(), removal.GetPlacement())
			switch {
			case p.GetWorkload() != workload.GetName() || !state.IsHealthy(p):
			case removal.GetDrain():
				w.checkMakesWay(workload, p, before)
			case workload.GetPerNode() && !state.Hosts(after.Node(p.GetNode()), workload):
			default:
				w.checkRemoval(workload, p, after)
			}
		}
	}
}

// checkShare: as long as a template runs beside another one, no plan gives more of
// it a node than may be.
func (w *world) checkShare(workload *skerryv1.Workload, before, after *state.View) {
	w.t.Helper()
	project, name := workload.GetProject(), workload.GetName()
	share := min(manifest.Wanted(workload), max(1, int(workload.GetUpdate().GetCanary())))
	if !after.Rollout(project, name).Beside(workload) || workload.GetUpdate().GetStrategy() != manifest.Canary {
		return
	}
	bound, more := 0, false
	for _, p := range after.PlacementsOf(project, name) {
		if state.Counts(p) && p.GetNode() != "" && p.GetGeneration() == workload.GetGeneration() {
			bound++
			more = more || before.Placement(project, p.GetName()).GetNode() == ""
		}
	}
	if more && bound > share {
		w.t.Fatalf("%d canaries of %s have a node, and its share is %d:\n%s", bound, name, share, w.describe())
	}
}

func countAll(view *state.View, workload *skerryv1.Workload) int {
	counted := 0
	for _, p := range view.PlacementsOf(workload.GetProject(), workload.GetName()) {
		if state.Counts(p) {
			counted++
		}
	}
	return counted
}

// checkMakesWay: what ends for a drain can be spared, together with all that
// ends in the same plan.
func (w *world) checkMakesWay(workload *skerryv1.Workload, removed *skerryv1.Placement, before *state.View) {
	w.t.Helper()
	kept := 0
	for _, p := range w.view().PlacementsOf(workload.GetProject(), workload.GetName()) {
		if state.IsHealthy(p) {
			kept++
		}
	}
	wanted := manifest.Wanted(workload)
	fewest := wanted - state.AtATime(workload)
	if text := workload.GetMinAvailable(); text != "" {
		least, err := manifest.Available(text, wanted)
		if err != nil {
			w.t.Fatalf("%v", err)
		}
		fewest = min(least, wanted)
	}
	if kept < fewest && !manifest.IsJob(workload) { // attempts are made anew
		w.t.Fatalf("%s makes way and leaves %d healthy of %d:\n%s", removed.GetName(), kept, fewest, w.describe())
	}
	if state.Moves(before.Rebalance(), removed) != nil && !state.IsStay(removed.GetSpec()) {
		return
	}
	if node := before.Node(removed.GetNode()); !state.Leaves(node) || state.IsStay(removed.GetSpec()) && !state.ToMaintenance(node) {
		w.t.Fatalf("%s makes way on a node that is %s", removed.GetName(), node.GetDuty().GetDuty())
	}
}

// checkRemoval of a healthy placement: enough others must be healthy, and of
// the present template, as surplus, only the youngest go.
func (w *world) checkRemoval(workload *skerryv1.Workload, removed *skerryv1.Placement, after *state.View) {
	w.t.Helper()
	var kept []*skerryv1.Placement
	for _, p := range after.PlacementsOf(workload.GetProject(), workload.GetName()) {
		if state.IsHealthy(p) {
			kept = append(kept, p)
		}
	}
	replicas := manifest.Wanted(workload)
	if removed.GetGeneration() != workload.GetGeneration() {
		fewest := replicas - state.MayMiss(workload)
		if workload.GetUpdate().GetStrategy() != manifest.Recreate && len(kept) < fewest {
			w.t.Fatalf("the update of %s leaves %d healthy of %d without %s:\n%s", workload.GetName(), len(kept), replicas, removed.GetName(), w.describe())
		}
		return
	}
	if len(kept) < min(replicas, w.trusted(workload)) {
		w.t.Fatalf("%s was healthy and ends, with %d healthy of %d:\n%s", removed.GetName(), len(kept), replicas, w.describe())
	}
	for _, p := range kept {
		if state.Leaves(w.view().Node(removed.GetNode())) && !state.Leaves(w.view().Node(p.GetNode())) {
			continue
		}
		if p.GetGeneration() == workload.GetGeneration() && p.GetCreated().AsTime().After(removed.GetCreated().AsTime()) {
			w.t.Fatalf("%s was healthy and ends, %s is younger and stays:\n%s", removed.GetName(), p.GetName(), w.describe())
		}
	}
}

// trusted is how many of the newest template a workload may have.
func (w *world) trusted(workload *skerryv1.Workload) int {
	rollout := w.view().Rollout(workload.GetProject(), workload.GetName())
	return rollout.Ahead(workload, w.view().PlacementsOf(workload.GetProject(), workload.GetName()), state.IsHealthy)
}

// anyUpdate that a workload may have; beside: it need not stop before it starts.
func anyUpdate(t *rapid.T, beside bool) *skerryv1.Update {
	u := &skerryv1.Update{
		Strategy:       "rolling",
		MaxUnavailable: uint32(rapid.IntRange(1, 3).Draw(t, "max unavailable")),
		MinHealthy:     rapid.SampledFrom([]string{"0s", "1s"}).Draw(t, "min healthy"),
		Deadline:       rapid.SampledFrom([]string{"4s", "10m"}).Draw(t, "deadline"),
		AutoRollback:   rapid.Bool().Draw(t, "auto rollback"),
	}
	if !beside {
		u.Strategy = rapid.SampledFrom([]string{"rolling", "recreate"}).Draw(t, "strategy")
		return u
	}
	u.Strategy = rapid.SampledFrom([]string{"rolling", "rolling", "recreate", "canary", "blue-green"}).Draw(t, "strategy")
	if u.GetStrategy() == "rolling" {
		u.MaxSurge = uint32(rapid.IntRange(0, 2).Draw(t, "max surge"))
		u.MaxUnavailable -= min(u.GetMaxUnavailable(), u.GetMaxSurge())
	}
	if u.GetStrategy() == "canary" {
		u.Canary, u.PromoteAfter = uint32(rapid.IntRange(1, 3).Draw(t, "canary")), "2s"
	}
	return u
}

// mend everything and wait.
func (w *world) mend() {
	for _, name := range w.names() {
		node := w.nodes[name]
		w.duty(name, inService)
		node.off, node.cut, node.sick, node.deaf, node.sickOf, node.exit = false, false, false, false, "", succeeds
	}
	for _, name := range workloadNames {
		w.try(&sitev1.Entry{Change: &sitev1.Entry_SteerRollout{SteerRollout: &sitev1.SteerRollout{
			Project: "default", Workload: name, Action: skerryv1.SteerAction_STEER_ACTION_RESUME,
		}}})
	}
	// A mass failure waits a minute.
	w.pass(75 * time.Second)
}

// wantConverged: all placements that are asked for run, or no node has room.
func (w *world) wantConverged() {
	w.t.Helper()
	v := w.view()
	for _, node := range v.Nodes() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_LOST {
			w.t.Fatalf("%s is lost though it is there", node.GetName())
		}
	}
	if len(w.waitsFor()) > 0 || w.waiting != "" {
		w.t.Fatalf("it waits because of %q, for %v:\n%s", w.waiting, w.waitsFor(), w.describe())
	}
	total := 0
	for _, workload := range v.Workloads() {
		all := v.PlacementsOf(workload.GetProject(), workload.GetName())
		total += len(all)
		if manifest.IsJob(workload) {
			w.wantDone(workload)
			continue
		}
		// What finds no room beside the old ones waits.
		waits := slices.ContainsFunc(all, func(p *skerryv1.Placement) bool { return p.GetNode() == "" })
		rollout := v.Rollout(workload.GetProject(), workload.GetName())
		if surplus := len(all) - manifest.Wanted(workload); surplus < 0 || surplus > 0 && (!waits || surplus > rollout.Surge(workload, all)) {
			w.t.Fatalf("%s has %d placements, want %d:\n%s", workload.GetName(), len(all), manifest.Wanted(workload), w.describe())
		}
		for _, p := range all {
			// What minAvailable spares nothing of stays as it is.
			if p.GetGeneration() != workload.GetGeneration() && !waits && state.MaySpare(workload, all) > 0 {
				w.t.Fatalf("%s is of generation %d, not %d:\n%s", p.GetName(), p.GetGeneration(), workload.GetGeneration(), w.describe())
			}
		}
	}
	if got := len(v.Placements()); got != total {
		w.t.Fatalf("%d placements, %d of them of workloads:\n%s", got, total, w.describe())
	}
}

// wantDone: the job is, but for a run that has just begun.
func (w *world) wantDone(workload *skerryv1.Workload) {
	w.t.Helper()
	for _, run := range manifest.ActiveRuns(workload) {
		if w.view().Time().AsTime().Sub(run.GetStarted().AsTime()) > time.Minute && len(w.waitsFor()) == 0 {
			w.t.Fatalf("run %d of %s goes on for ever: %v\n%s", run.GetNumber(), workload.GetName(), run, w.describe())
		}
	}
}

// waitsFor lists what is bound and not healthy, or pending without reason.
func (w *world) waitsFor() []string {
	var waits []string
	for _, p := range w.view().Placements() {
		if p.GetEnded() != nil {
			continue
		}
		if p.GetNode() != "" && !state.IsHealthy(p) || p.GetNode() == "" && p.GetDecision() == nil {
			waits = append(waits, p.GetName())
		}
	}
	return waits
}

// TestADrainAlwaysEndsOrSaysWhatIsLeft of a site that is well: every placement
// moves, or is named in the end, and what is left runs on.
func TestADrainAlwaysEndsOrSaysWhatIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 4).Draw(t, "workloads") {
			w.applyAny(t)
		}
		w.pass(20 * time.Second)
		name := rapid.SampledFrom(w.names()).Draw(t, "node")
		healthy := map[string]int{}
		for _, workload := range workloadNames {
			healthy[workload] = w.healthy(workload)
		}
		until := rapid.SampledFrom([]skerryv1.Duty{drained, maintenance}).Draw(t, "until")
		if w.duty(name, until, 20*time.Second).GetErrorKind() != "" {
			return // nothing else is in service
		}
		w.pass(30 * time.Second)
		duty := w.view().Node(name).GetDuty()
		if duty.GetDuty() == skerryv1.Duty_DUTY_DRAINING || duty.GetDrain().GetResult() == "" {
			t.Fatalf("%s is still %s: %q\n%s", name, duty.GetDuty(), duty.GetDrain().GetResult(), w.describe())
		}
		left := w.view().PlacementsOn(name)
		if (duty.GetDuty() == maintenance || !strings.Contains(duty.GetDrain().GetResult(), "-")) && len(left) > 0 {
			t.Fatalf("%q, and yet there is\n%s", duty.GetDrain().GetResult(), w.describe())
		}
		for _, workload := range workloadNames {
			stays := (workload == "db" || workload == "agent") && until == maintenance || manifest.IsJob(w.view().Workload("default", workload))
			if now := w.healthy(workload); now < healthy[workload] && !stays {
				t.Fatalf("%d of %s were healthy, now %d:\n%s", healthy[workload], workload, now, w.describe())
			}
		}
	})
}
