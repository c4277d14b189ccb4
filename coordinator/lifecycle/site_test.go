package lifecycle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// testing is what *testing.T and *rapid.T have in common.
type testingT interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// site is a real state, the core that drives it, and nodes that do what they
// are told.
type site struct {
	t     testingT
	store *state.Store
	core  *Core
	index uint64
	now   time.Duration
	nodes map[string]*fakeNode
	// checks of every state that the core brings about.
	check func()
	// waiting is what the last step said.
	waiting string
	// changes of the voters that were asked for.
	changes []*sitev1.VoterChange
	// tick is how often the coordinator looks, and nodes are heard.
	tick time.Duration
	// lag of all replicas, in entries.
	lag uint64
	// planned sees the state before and after each plan.
	planned func(before *state.View, plan *sitev1.Plan)
}

// fakeNode lives while it is on and in reach. What runs on it goes on while it
// is on.
type fakeNode struct {
	off, cut bool
	// sick: nothing becomes healthy on it.
	sick bool
	// sickOf this argument of a container.
	sickOf string
	// mute: its replica is silent.
	mute bool
	// deaf: it stops nothing.
	deaf bool
	// exit of a job's attempts; they go on while it is PHASE_UNSPECIFIED.
	exit     skerryv1.Phase
	running  map[string]bool
	revision uint64
	// probe that is under way.
	probed time.Duration
}

var epoch = time.Unix(1_700_000_000, 0)

// newSite has the nodes n1, which coordinates, to nN in zones in turn, and an
// image that all of them hold.
func newSite(t testingT, count int, zones ...string) *site {
	s := &site{t: t, store: state.New(), nodes: map[string]*fakeNode{}, check: func() {}, tick: 50 * time.Millisecond}
	body, err := proto.Marshal(&sitev1.TrustBody{Site: "reef", Version: 1})
	if err != nil {
		t.Fatalf("%v", err)
	}
	digest := sha256.Sum256(body)
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "reef", SiteId: hex.EncodeToString(digest[:]), Trust: &sitev1.TrustVersion{Body: body},
		Operator:  &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: fingerprint("admin")},
		Node:      testNode("n1", zoneOf(1, zones)),
		GossipKey: bytes.Repeat([]byte{7}, 32),
	}}})
	s.nodes["n1"] = &fakeNode{running: map[string]bool{}}
	var names []string
	for n := 2; n <= count; n++ {
		s.join(fmt.Sprintf("n%d", n), zoneOf(n, zones))
	}
	for n := 1; n <= count; n++ {
		names = append(names, fmt.Sprintf("n%d", n))
	}
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Name: "web:1", Digest: testDigest("web1"), Size: 10, Nodes: names,
	}}}})
	s.newTerm()
	return s
}

func zoneOf(n int, zones []string) string {
	if len(zones) == 0 {
		return fmt.Sprintf("z%d", n)
	}
	return zones[(n-1)%len(zones)]
}

func (s *site) newTerm() { s.core = New(Defaults("n1"), s.now) }

func testDigest(of string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(of))) }

func fingerprint(of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return sum[:]
}

func testNode(name, zone string) *skerryv1.Node {
	return &skerryv1.Node{
		Name: name, Id: "id-" + name, Zone: zone, Address: name + ":7600",
		Capacity: &skerryv1.Capacity{CpuMilli: 1000, MemoryBytes: 1 << 30}, KeyFingerprint: fingerprint(name),
	}
}

// apply gives the store the next entry and expects it to be carried out.
func (s *site) apply(entry *sitev1.Entry) *sitev1.Outcome {
	s.t.Helper()
	outcome := s.try(entry)
	if outcome.GetErrorKind() != "" {
		s.t.Fatalf("%T was refused: %s: %s", entry.GetChange(), outcome.GetErrorKind(), outcome.GetError())
	}
	return outcome
}

func (s *site) try(entry *sitev1.Entry) *sitev1.Outcome {
	s.index++
	entry.Time = timestamppb.New(s.wall())
	return s.store.Apply(s.index, entry)
}

func (s *site) wall() time.Time { return epoch.Add(s.now) }

func (s *site) view() *state.View { return s.store.View() }

func (s *site) join(name, zone string) {
	s.t.Helper()
	s.joinAs(name, zone, func(*sitev1.CreateToken) {})
}

func (s *site) joinAs(name, zone string, alter func(*sitev1.CreateToken)) {
	s.t.Helper()
	token := &sitev1.CreateToken{
		Token: &skerryv1.Token{Id: fmt.Sprintf("t%d", s.index), Role: "node",
			Expires: timestamppb.New(s.wall().Add(time.Hour))},
		SecretHash: fingerprint(fmt.Sprint("secret", s.index)), Zone: zone,
	}
	alter(token)
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: token}})
	secret := fingerprint(fmt.Sprint("secret", s.index-1))
	node := testNode(name, zone)
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: secret, KeyFingerprint: node.GetKeyFingerprint(), Node: node,
	}}})
	s.nodes[name] = &fakeNode{running: map[string]bool{}}
}

func testWorkload(name string, replicas uint32, change ...func(*skerryv1.Workload)) *skerryv1.Workload {
	w := &skerryv1.Workload{
		Name: name, Replicas: &replicas,
		Container: &skerryv1.Container{Image: "web:1", Resources: &skerryv1.Resources{Cpu: "100m", Memory: "64Mi"}},
	}
	for _, c := range change {
		c(w)
	}
	manifest.Default(w)
	return w
}

func stays(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{Mode: manifest.Stay} }

func recreates(w *skerryv1.Workload) { w.Update = &skerryv1.Update{Strategy: "recreate"} }

func replaceAfter(d string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{ReplaceAfter: d} }
}

func args(args ...string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Container.Args = args }
}

func (s *site) applyWorkload(w *skerryv1.Workload) {
	s.t.Helper()
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: w}}},
	}}})
}

func (s *site) delete(kind, name string) *sitev1.Outcome {
	return s.try(&sitev1.Entry{Change: &sitev1.Entry_DeleteResource{
		DeleteResource: &sitev1.DeleteResource{Kind: kind, Project: "default", Name: name},
	}})
}

// step asks the core once, checks that it would answer the same again, and
// that the state takes all of it.
func (s *site) step() Effects {
	s.t.Helper()
	for name, node := range s.nodes {
		if s.inReach(node) {
			s.core.Heard(name, s.now)
		}
	}
	effects := s.core.Step(s.now, s.wall(), s.view(), s.progress())
	again := s.core.Step(s.now, s.wall(), s.view(), s.progress())
	if !slices.EqualFunc(effects.Propose, again.Propose, func(a, b *sitev1.Entry) bool { return proto.Equal(a, b) }) {
		s.t.Fatalf("asked twice, it proposes %v and then %v", effects.Propose, again.Propose)
	}
	if len(again.Probe) > 0 || again.Change != nil {
		s.t.Fatalf("asked twice, it probes %v and changes %v once more", again.Probe, again.Change)
	}
	if effects.Wake <= 0 || effects.Wake > longestWake {
		s.t.Fatalf("it wants to wake in %s", effects.Wake)
	}
	s.waiting = effects.Waiting
	for _, name := range effects.Probe {
		s.nodes[name].probed = s.now
	}
	for _, entry := range effects.Propose {
		before := s.view()
		if outcome := s.apply(proto.CloneOf(entry)); outcome.GetRejected() > 0 {
			s.t.Fatalf("%d parts were rejected of %v", outcome.GetRejected(), entry)
		}
		if plan := entry.GetPlan(); plan != nil && s.planned != nil {
			s.planned(before, plan)
		}
		s.check()
	}
	if effects.Change != nil {
		s.changes = append(s.changes, effects.Change)
		s.index++
		s.store.ApplyVoterChange(s.index, effects.Change)
		s.check()
	}
	return effects
}

func (s *site) inReach(n *fakeNode) bool { return !n.off && !n.cut }

// progress of a log that all nodes in reach follow.
func (s *site) progress() Progress {
	progress := Progress{Commit: s.index}
	for _, node := range s.view().Nodes() {
		fake := s.nodes[node.GetName()]
		if node.GetRaftId() != 0 && node.GetName() != "n1" && s.inReach(fake) && !fake.mute {
			progress.Replicas = append(progress.Replicas, Replica{ID: node.GetRaftId(), Match: s.index - s.lag, Active: true})
		}
	}
	return progress
}

// settle steps until the core is content with the state.
func (s *site) settle() {
	s.t.Helper()
	for range 100 {
		if effects := s.step(); len(effects.Propose) == 0 && effects.Change == nil {
			return
		}
	}
	s.t.Fatalf("it is never content:\n%s", s.describe())
}

// pass lets time go by; nodes and core do what they do.
func (s *site) pass(d time.Duration) {
	s.t.Helper()
	for end := s.now + d; s.now < end; {
		s.now += s.tick
		s.answerProbes()
		s.report()
		s.settle()
	}
}

func (s *site) answerProbes() {
	for _, name := range s.names() {
		node := s.nodes[name]
		switch {
		case node.probed == 0:
		case s.inReach(node):
			s.core.Probed(name, true, s.now)
			node.probed = 0
		case s.now-node.probed >= 300*time.Millisecond:
			s.core.Probed(name, false, s.now)
			node.probed = 0
		}
	}
}

func (s *site) names() []string {
	var names []string
	for _, n := range s.view().Nodes() {
		names = append(names, n.GetName())
	}
	return names
}

// report lets the nodes in reach do what they are told, and tell of it.
func (s *site) report() {
	s.t.Helper()
	batch := &sitev1.StatusBatch{}
	for _, name := range s.names() {
		node := s.nodes[name]
		if !s.inReach(node) {
			continue
		}
		report := &sitev1.NodeReport{Node: name}
		orders := s.view().PlacementsOn(name)
		for _, p := range orders {
			if r := node.obey(p); r != nil {
				report.Placements = append(report.Placements, r)
			}
		}
		maps.DeleteFunc(node.running, func(running string, _ bool) bool {
			return !slices.ContainsFunc(orders, func(p *skerryv1.Placement) bool { return p.GetName() == running })
		})
		if len(report.GetPlacements()) > 0 {
			batch.Reports = append(batch.Reports, report)
		}
	}
	if len(batch.GetReports()) == 0 {
		return
	}
	if outcome := s.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: batch}}); outcome.GetRejected() > 0 {
		s.t.Fatalf("%d reports were rejected of %v", outcome.GetRejected(), batch)
	}
	s.check()
}

// obey does what a placement asks for and returns what changed.
func (n *fakeNode) obey(p *skerryv1.Placement) *sitev1.PlacementReport {
	report := &sitev1.PlacementReport{Project: p.GetProject(), Placement: p.GetName()}
	if p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP {
		if n.deaf {
			return nil
		}
		delete(n.running, p.GetName())
		report.Gone = true
		return report
	}
	n.running[p.GetName()] = true
	status := &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: skerryv1.Readiness_READINESS_HEALTHY}
	if n.sick || n.sickOf != "" && slices.Contains(p.GetSpec().GetContainer().GetArgs(), n.sickOf) {
		status.Phase, status.Readiness = skerryv1.Phase_PHASE_BACKOFF, skerryv1.Readiness_READINESS_UNSPECIFIED
	}
	if p.GetRun() != 0 && n.exit != skerryv1.Phase_PHASE_UNSPECIFIED {
		status.Phase, status.Readiness = n.exit, skerryv1.Readiness_READINESS_UNSPECIFIED
	}
	if p.GetEnded() != nil {
		delete(n.running, p.GetName())
		return nil
	}
	if status.GetPhase() == p.GetStatus().GetPhase() {
		return nil
	}
	n.revision++
	status.Revision = n.revision
	report.Status = status
	return report
}

// describe the placements: name, node, and what is special about them.
func (s *site) describe() string {
	var lines []string
	for _, p := range s.view().Placements() {
		line := fmt.Sprintf("%s on %s", p.GetName(), p.GetNode())
		if p.GetNode() == "" {
			line = p.GetName() + " pending: " + p.GetDecision().GetSummary()
		}
		if p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP {
			line += ", stops"
		}
		if p.GetEnded() != nil {
			line += ", " + strings.ToLower(strings.TrimPrefix(p.GetStatus().GetPhase().String(), "PHASE_"))
		}
		if p.GetLostSince() != nil {
			line += ", lost"
		}
		if p.GetReplacedBy() != "" {
			line += ", replaced by " + p.GetReplacedBy()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// want compares with describe.
func (s *site) want(lines ...string) {
	s.t.Helper()
	if got, want := s.describe(), strings.Join(lines, "\n"); got != want {
		s.t.Errorf("placements are\n%s\nwant\n%s", got, want)
	}
}

func TestPlacementsAreCreatedAndGetNodes(t *testing.T) {
	s := newSite(t, 1)
	s.applyWorkload(testWorkload("web", 2))
	s.settle()
	s.want("web-1 on n1", "web-2 on n1")
	s.pass(5 * time.Second)
	s.want("web-1 on n1", "web-2 on n1")
}
