package whatif

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
)

// harbour is a site whose nodes do what they are told.
type harbour struct {
	t *testing.T
	*world
}

// newHarbour has one node a name; each is written ZONE/NAME, and the first
// three vote.
func newHarbour(t *testing.T, nodes ...string) *harbour {
	t.Helper()
	authority, err := certs.NewAuthority(env.NewSystem().Rand, "harbour", "n1", time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := certs.FirstTrust("harbour", authority)
	if err != nil {
		t.Fatal(err)
	}
	h := &harbour{t: t, world: &world{store: state.New()}}
	capacity := &skerryv1.Capacity{CpuMilli: 1000, MemoryBytes: 1 << 30}
	for i, node := range nodes {
		zone, name, _ := strings.Cut(node, "/")
		key := sha256.Sum256([]byte(name))
		if i == 0 {
			h.ok(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
				Name: "harbour", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: make([]byte, 32),
				Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: key[:]},
				Node: &skerryv1.Node{Name: name, Zone: zone, KeyFingerprint: key[:], Capacity: capacity, MayVote: true, RaftId: 1,
					Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER, Authority: authority.Certificate().Raw},
			}}})
			continue
		}
		if err := h.join(name, &skerryv1.Machines{Zone: zone}, capacity); err != nil {
			t.Fatal(err)
		}
		if i < 3 {
			h.store.ApplyVoterChange(h.store.View().Index()+1, &sitev1.VoterChange{
				AddNode: name, AddRaftId: uint64(i + 1), Role: skerryv1.VoterRole_VOTER_ROLE_VOTER,
			})
		}
	}
	h.ok(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Name: "web", Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(nil)), Size: 1, Nodes: names(h.store.View()),
	}}}})
	h.world = newWorld(h.store, h.store.View().Nodes()[0].GetName())
	return h
}

func names(view *state.View) []string {
	var all []string
	for _, node := range view.Nodes() {
		all = append(all, node.GetName())
	}
	return all
}

func (h *harbour) ok(entry *sitev1.Entry) {
	h.t.Helper()
	if outcome := h.apply(entry); outcome.GetErrorKind() != "" {
		h.t.Fatalf("%v was refused: %v", entry, outcome)
	}
}

func work(name string, replicas uint32, cpu string, change func(*skerryv1.Workload)) *skerryv1.Resource {
	w := &skerryv1.Workload{
		Kind: "Workload", Name: name, Project: "default", Replicas: proto.Uint32(replicas),
		Container: &skerryv1.Container{Image: "web", Resources: &skerryv1.Resources{Cpu: cpu, Memory: "64Mi"}},
	}
	if change != nil {
		change(w)
	}
	manifest.Default(w)
	return &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: w}}
}

func declared(resources []*skerryv1.Resource) *sitev1.ApplyResources {
	if len(resources) == 0 {
		return nil
	}
	return &sitev1.ApplyResources{Resources: resources}
}

// running applies workloads and lets the site come to rest.
func (h *harbour) running(resources ...*skerryv1.Resource) {
	h.t.Helper()
	if _, err := h.declare(declared(resources)); err != nil {
		h.t.Fatal(err)
	}
	if !h.settle() {
		h.t.Fatal("the site does not come to rest")
	}
}

// say is an answer in a few words.
func say(a *skerryv1.WhatIfResponse) string {
	var parts []string
	if !a.GetQuorum() {
		parts = append(parts, fmt.Sprintf("no quorum (%d of %d)", a.GetVotersLeft(), a.GetVoters()))
	}
	for _, m := range a.GetMoves() {
		parts = append(parts, fmt.Sprintf("%s %s>%s", m.GetWorkload(), m.GetFrom(), m.GetTo()))
	}
	for _, s := range a.GetPausing() {
		parts = append(parts, fmt.Sprintf("%s of %s pauses", s.GetWorkload(), s.GetNode()))
	}
	for _, s := range a.GetStranded() {
		parts = append(parts, fmt.Sprintf("%s of %s stranded: %s", s.GetWorkload(), s.GetNode(), s.GetWhy()))
	}
	return strings.Join(parts, "; ")
}

func stays(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{Mode: "stay"} }

func waits(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{ReplaceAfter: "24h"} }

func TestWhatWouldBecomeOfASite(t *testing.T) {
	for _, test := range []struct {
		name    string
		nodes   []string
		running []*skerryv1.Resource
		asked   *skerryv1.WhatIfRequest
		want    string
	}{
		{"nothing asked, nothing happens", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("web", 3, "100m", nil)},
			&skerryv1.WhatIfRequest{}, ""},
		{"what is lost goes where there is room", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("web", 2, "500m", nil)},
			&skerryv1.WhatIfRequest{LoseNodes: []string{"n2"}}, "web n2>n3"},
		{"however long it would wait", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("web", 2, "500m", waits)},
			&skerryv1.WhatIfRequest{LoseNodes: []string{"n2"}}, "web n2>n3"},
		{"what finds no room is told with the reason", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("web", 3, "900m", nil)},
			&skerryv1.WhatIfRequest{LoseNodes: []string{"n2"}}, "web of n2 stranded: no node fits: 1 node lost, 2 nodes without 900m CPU free"},
		{"what stays is not started elsewhere", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("db", 1, "100m", stays)},
			&skerryv1.WhatIfRequest{LoseNodes: []string{"n1"}}, "db of n1 stranded: its node is lost, and it stays there: nothing starts it elsewhere"},
		{"a zone is all of its nodes", []string{"a/n1", "b/n2", "b/n3", "c/n4"}, []*skerryv1.Resource{work("web", 4, "400m", nil)},
			&skerryv1.WhatIfRequest{LoseZones: []string{"b"}}, "no quorum (1 of 3); web of n2 stranded: its node is lost, and without a quorum nothing is replaced; " +
				"web of n3 stranded: its node is lost, and without a quorum nothing is replaced"},
		{"machines that come take what was lost", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("web", 3, "900m", nil)},
			&skerryv1.WhatIfRequest{LoseNodes: []string{"n2"}, Add: []*skerryv1.Machines{{Count: 1, Cpu: "8", Memory: "32Gi"}}}, "web n2>new-1"},
		{"a manifest goes where there is room", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("web", 1, "900m", nil)},
			&skerryv1.WhatIfRequest{Apply: []*skerryv1.Resource{work("db", 5, "500m", nil)}}, "db >n2; db >n2; db >n3; db >n3; db of  stranded: no node fits: 3 nodes without 500m CPU free"},
		{"fewer replicas end", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("web", 3, "100m", nil)},
			&skerryv1.WhatIfRequest{Apply: []*skerryv1.Resource{work("web", 2, "100m", nil)}}, "web n3>"},
		{"another template moves all of them", []string{"a/n1", "b/n2"}, []*skerryv1.Resource{work("web", 2, "100m", nil)},
			&skerryv1.WhatIfRequest{Apply: []*skerryv1.Resource{work("web", 2, "200m", nil)}}, "web n1>n1; web n2>n2"},
		{"what is drained goes where there is room", []string{"a/n1", "b/n2", "c/n3"}, []*skerryv1.Resource{work("web", 2, "500m", nil)},
			&skerryv1.WhatIfRequest{DrainNodes: []string{"n2"}}, "web n2>n3"},
		{"without room it does not go", []string{"a/n1", "b/n2"}, []*skerryv1.Resource{work("web", 2, "900m", nil)},
			&skerryv1.WhatIfRequest{DrainNodes: []string{"n2"}}, "web of n2 stranded: no node fits: 1 node out of service, 1 node without 900m CPU free"},
		{"what stays runs on on a drained node", []string{"a/n1", "b/n2"}, []*skerryv1.Resource{work("db", 1, "100m", stays)},
			&skerryv1.WhatIfRequest{DrainNodes: []string{"n1"}}, "db of n1 stranded: it stays on its node (partition.mode: stay) and runs on there: " +
				"skerry node maintenance n1 stops it in good order and starts it again afterwards"},
		{"what stays and must stay healthy is not stopped for maintenance", []string{"a/n1", "b/n2"},
			[]*skerryv1.Resource{work("db", 1, "100m", func(w *skerryv1.Workload) { stays(w); w.MinAvailable = "1" })},
			&skerryv1.WhatIfRequest{MaintainNodes: []string{"n1"}}, "db of n1 stranded: db must keep 1 healthy (minAvailable), and has 1: make the others healthy, or lower it"},
		{"what stays waits for the end of maintenance", []string{"a/n1", "b/n2"}, []*skerryv1.Resource{work("db", 1, "100m", stays)},
			&skerryv1.WhatIfRequest{MaintainNodes: []string{"n1"}}, "db of n1 pauses"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarbour(t, test.nodes...)
			h.running(test.running...)
			hash := h.store.Hash()
			answer, err := Ask(h.store, test.asked, declared(test.asked.GetApply()))
			if err != nil {
				t.Fatal(err)
			}
			if got := say(answer); got != test.want || !answer.GetSettled() {
				t.Errorf("settled %t\ngot  %s\nwant %s", answer.GetSettled(), got, test.want)
			}
			if h.store.Hash() != hash {
				t.Error("the question changed the site")
			}
		})
	}
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	h := newHarbour(t, "a/n1")
	for _, test := range []struct {
		name  string
		asked *skerryv1.WhatIfRequest
		want  string
	}{
		{"a node that is not there", &skerryv1.WhatIfRequest{LoseNodes: []string{"n9"}}, "no such node"},
		{"a zone that is not there", &skerryv1.WhatIfRequest{LoseZones: []string{"z"}}, "no node is in it"},
		{"no machines", &skerryv1.WhatIfRequest{Add: []*skerryv1.Machines{{Cpu: "1", Memory: "1Gi"}}}, "1 to 1000"},
		{"more machines than anybody has", &skerryv1.WhatIfRequest{Add: []*skerryv1.Machines{{Count: 4e9, Cpu: "1", Memory: "1Gi"}}}, "1 to 1000"},
		{"machines without memory", &skerryv1.WhatIfRequest{Add: []*skerryv1.Machines{{Count: 1, Cpu: "1"}}}, "memory"},
		{"a manifest that the site refuses", &skerryv1.WhatIfRequest{Apply: []*skerryv1.Resource{work("web", 1, "1", func(w *skerryv1.Workload) { w.Project = "nowhere" })}}, "no such project"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Ask(h.store, test.asked, declared(test.asked.GetApply())); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestWhichLossesASiteSurvives(t *testing.T) {
	h := newHarbour(t, "a/n1", "b/n2", "b/n3", "c/n4")
	h.running(work("web", 4, "100m", nil), work("db", 1, "100m", func(w *skerryv1.Workload) {
		stays(w)
		w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "name", In: []string{"n4"}}}}
	}), work("larger-than-the-site", 2, "64", nil)) // it runs nowhere now: no loss is to blame
	survey := NewSurvey(h.store)
	for survey.Step() {
	}
	tried, losses := survey.Tried()
	var got []string
	for _, w := range survey.Weak() {
		got = append(got, w.GetLoss()+": "+w.GetWhy())
	}
	want := []string{
		"zone b: 1 of 3 voters would be left: no quorum, so no changes and no replacing",
		"node n4: a placement of db would not run: its node is lost, and it stays there: nothing starts it elsewhere",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || tried != losses {
		t.Errorf("%d of %d tried, got\n%s\nwant\n%s", tried, losses, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// BenchmarkSurvives is what one status costs a site of twenty nodes and five
// hundred placements.
func BenchmarkSurvives(b *testing.B) {
	var nodes []string
	for i := range 20 {
		nodes = append(nodes, fmt.Sprintf("%c/n%d", 'a'+i%4, i+1))
	}
	t := &testing.T{}
	h := newHarbour(t, nodes...)
	h.running(work("web", 500, "10m", nil))
	b.ResetTimer()
	for b.Loop() {
		for survey := NewSurvey(h.store); survey.Step(); {
		}
	}
}

// machineSite is a site where db, a virtual machine, runs on a node.
func machineSite(t *testing.T, nodes []string, change func(*skerryv1.VirtualMachine)) (h *harbour, at string) {
	t.Helper()
	h = newHarbour(t, nodes...)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("disk")))
	h.ok(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Name: "disk", Digest: digest, Size: 1, DiskBytes: 1 << 20, Nodes: names(h.store.View()),
	}}}})
	batch := &sitev1.StatusBatch{}
	for _, node := range names(h.store.View()) {
		batch.Reports = append(batch.Reports, &sitev1.NodeReport{Node: node, Facts: &sitev1.NodeFacts{
			Capacity: &skerryv1.Capacity{CpuMilli: 1000, MemoryBytes: 1 << 30, DiskBytes: 1 << 34},
			Vms:      &skerryv1.VmFacts{Emulation: true, Firmware: []string{"bios"}},
			Images:   []string{digest},
		}})
	}
	h.ok(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: batch}})
	h.running(work("db", 1, "", func(w *skerryv1.Workload) {
		stays(w)
		w.Container = nil
		w.Vm = &skerryv1.VirtualMachine{Image: "disk", Cpu: 1, Memory: "64Mi", Accel: "auto", Boot: &skerryv1.Boot{Firmware: "bios"}}
		change(w.Vm)
	}))
	at = h.store.View().Placement("default", "db-1").GetNode()
	if at == "" {
		t.Fatal(h.store.View().Placement("default", "db-1"))
	}
	return h, at
}

func TestAVirtualMachineLeavesWhileItRuns(t *testing.T) {
	h, at := machineSite(t, []string{"a/n1", "b/n2"}, func(*skerryv1.VirtualMachine) {})
	answer, err := Ask(h.store, &skerryv1.WhatIfRequest{DrainNodes: []string{at}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if moves := answer.GetMoves(); len(moves) != 1 || !moves[0].GetLive() || moves[0].GetFrom() != at || moves[0].GetTo() == at || moves[0].GetPlacement() != "db-1" {
		t.Errorf("of a drain of %s it says: %s", at, say(answer))
	}
}

func TestADrainSaysWhyAVirtualMachineDoesNotLeaveWhileItRuns(t *testing.T) {
	h, at := machineSite(t, []string{"a/n1", "b/n2"}, func(vm *skerryv1.VirtualMachine) {
		vm.Disks = []*skerryv1.Disk{{Name: "data", Volume: "data", Size: "1Gi"}}
	})
	answer, err := Ask(h.store, &skerryv1.WhatIfRequest{DrainNodes: []string{at}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := say(answer); !strings.Contains(got, "runs on there, and cannot move while it runs (its volume data is not made yet)") {
		t.Errorf("of a drain of %s it says: %s", at, got)
	}
}
