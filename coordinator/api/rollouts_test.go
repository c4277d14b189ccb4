package api

import (
	"encoding/json"
	"strings"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	history = "RolloutService/History"
	steer   = "RolloutService/Steer"
	plan    = "PlanService/Plan"
)

// verdict is what the controllers say of web.
func (s *apiSite) verdict(generation uint64, verdict sitev1.RolloutVerdict) {
	s.t.Helper()
	view := s.store.View()
	for _, p := range view.PlacementsOf("default", "web") {
		if p.GetNode() == "" {
			s.commit(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{BaseIndex: s.store.View().Index(), Assign: []*sitev1.Assignment{{
				Project: "default", Placement: p.GetName(), Node: "n1", Decision: &skerryv1.Decision{Summary: "a test"},
			}}}}})
		}
		s.commit(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
			Node: "n1", Placements: []*sitev1.PlacementReport{{Project: "default", Placement: p.GetName(),
				Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: p.GetStatus().GetRevision() + 1}}},
		}}}}})
	}
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{BaseIndex: s.store.View().Index(), Rollouts: []*sitev1.RolloutStep{{
		Project: "default", Workload: "web", Generation: generation, Verdict: verdict, Reason: "a test",
	}}}}})
}

// goodWeb is a site on which web is good.
func goodWeb(t *testing.T) *apiSite {
	s := newAPISite(t)
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
		Node: "n1", Facts: &sitev1.NodeFacts{Address: "n1:7600", Capacity: &skerryv1.Capacity{CpuMilli: 4000, MemoryBytes: 1 << 30}},
	}}}}})
	s.image("site.local/web:1", "site.local/web:2")
	mia := operator("mia")
	if got := s.call(&mia, apply, resourcesOf(workload("web", ""))); got.code() != "" {
		t.Fatalf("it is not taken: %v", got.body)
	}
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{BaseIndex: s.store.View().Index(), Create: []*sitev1.NewPlacement{{
		Project: "default", Workload: "web", Generation: 1,
	}}}}})
	s.verdict(1, sitev1.RolloutVerdict_ROLLOUT_VERDICT_GOOD)
	return s
}

func (s *apiSite) image(names ...string) {
	for i, name := range names {
		s.commit(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
			Name: name, Digest: "sha256:" + strings.Repeat(string(rune('a'+i)), 64), Size: 10, Nodes: []string{"n1"},
		}}}})
	}
}

func web2(more string) string {
	return resourcesOf(strings.ReplaceAll(workload("web", more), "web:1", "web:2"))
}

func TestARollbackIsAnApplyOfAnEarlierTemplate(t *testing.T) {
	s := goodWeb(t)
	mia := operator("mia")
	if got := s.call(&mia, apply, web2("")); got.code() != "" {
		t.Fatalf("it is not taken: %v", got.body)
	}
	body := `{"name":"web","action":"STEER_ACTION_ROLL_BACK","requestId":"once"}`
	first, again := s.call(&mia, steer, body), s.call(&mia, steer, body)
	if first.code() != "" || again.code() != "" {
		t.Fatalf("it gave %v, then %v", first.body, again.body)
	}
	w := s.store.View().Workload("default", "web")
	if w.GetContainer().GetImage() != "site.local/web:1" || w.GetGeneration() != 3 {
		t.Errorf("web is %v", w)
	}
	answer, _ := json.Marshal(s.call(&mia, history, `{"name":"web"}`).body)
	for _, part := range []string{"REVISION_STATE_GOOD", "REVISION_STATE_REPLACED", "REVISION_STATE_ROLLING", `"rollbackTo":"1"`,
		"spiffe://reef/operator/mia", `"container.image"`, `"site.local/web:2"`} {
		if !strings.Contains(string(answer), part) {
			t.Errorf("the history lacks %s: %s", part, answer)
		}
	}
}

func TestStatusTellsOfAnUpdateThatWentBackByItselfUntilTheNextOne(t *testing.T) {
	s := goodWeb(t)
	mia := operator("mia")
	applies := func(manifest string) {
		t.Helper()
		if got := s.call(&mia, apply, manifest); got.code() != "" {
			t.Fatalf("it is not taken: %v", got.body)
		}
	}
	told := func() string {
		return strings.Join(rolloutProblems(s.store.View(), s.store.View().Workloads()), "\n")
	}
	applies(web2(`,"update":{"autoRollback":true}`))
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{BaseIndex: s.store.View().Index(), Rollouts: []*sitev1.RolloutStep{{
		Project: "default", Workload: "web", Generation: 2, Verdict: sitev1.RolloutVerdict_ROLLOUT_VERDICT_FAILED, Reason: "no new placement is healthy",
	}}}}})
	want := "workload web: generation 2 failed and the site went back by itself: no new placement is healthy: skerry history web"
	if got := told(); got != want {
		t.Errorf("it tells %q, want %q", got, want)
	}
	s.verdict(3, sitev1.RolloutVerdict_ROLLOUT_VERDICT_GOOD)
	if got := told(); got != want {
		t.Errorf("when it is back it tells %q, want %q", got, want)
	}
	applies(web2(""))
	if got := told(); got != "" {
		t.Errorf("after another update it tells %q", got)
	}
}

func TestWhatCannotBeSteeredIsRefused(t *testing.T) {
	s := goodWeb(t)
	mia, eve := operator("mia"), operator("eve")
	for _, test := range []struct{ name, body, code, says string }{
		{"what there is not", `{"name":"nowhere","action":"STEER_ACTION_PAUSE"}`, "not_found", "no such workload"},
		{"in no way", `{"name":"web"}`, "invalid_argument", "no such action"},
		{"what is done", `{"name":"web","action":"STEER_ACTION_PAUSE"}`, "failed_precondition", "nothing is rolled out"},
		{"back to where nothing was", `{"name":"web","action":"STEER_ACTION_ROLL_BACK"}`, "failed_precondition", "no other template that was good"},
		{"back to what it is", `{"name":"web","action":"STEER_ACTION_ROLL_BACK","generation":"1"}`, "failed_precondition", "already"},
		{"back to what is not remembered", `{"name":"web","action":"STEER_ACTION_ROLL_BACK","generation":"9"}`, "not_found", "not remembered"},
		{"what has changed since", `{"name":"web","action":"STEER_ACTION_PAUSE","resourceVersion":"1"}`, "failed_precondition", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.call(&mia, steer, test.body)
			if got.code() != test.code || !strings.Contains(got.message(), test.says) {
				t.Errorf("it gave %d %v", got.status, got.body)
			}
		})
	}
	if got := s.call(&eve, steer, `{"name":"web","action":"STEER_ACTION_PAUSE"}`); got.code() != "permission_denied" {
		t.Errorf("somebody else gets %v", got.body)
	}
}

func TestAPlanTellsWhatAnApplyWouldChangeAndChangesNothing(t *testing.T) {
	s := goodWeb(t)
	mia, eve := operator("mia"), operator("eve")
	before := s.contents()
	got := s.call(&mia, plan, web2(`,"priority":7`))
	if got.code() != "" {
		t.Fatalf("it gave %v", got.body)
	}
	answer, _ := json.Marshal(got.body)
	for _, part := range []string{`"outcome":"configured"`, `"replaces":true`, `"field":"container.image"`, `"from":"site.local/web:1"`, `"field":"priority"`, `"settled":true`} {
		if !strings.Contains(string(answer), part) {
			t.Errorf("the plan lacks %s: %s", part, answer)
		}
	}
	if before != s.contents() {
		t.Error("it changed something")
	}
	for _, test := range []struct{ name, body string }{
		{"a wrong manifest", resourcesOf(workload("web", `,"priority":70000`))},
		{"nothing", `{}`},
		{"what has changed since", web2(`,"resourceVersion":"1"`)},
	} {
		planned, applied := s.call(&mia, plan, test.body), s.call(&mia, apply, test.body)
		if planned.code() == "" || planned.code() != applied.code() {
			t.Errorf("%s: the plan gave %v, the apply %v", test.name, planned.body, applied.body)
		}
	}
	if got := s.call(&eve, plan, web2("")); got.code() != "permission_denied" {
		t.Errorf("somebody else gets %v", got.body)
	}
}

func TestNobodyGoesBackToWhatTheyMayNotApply(t *testing.T) {
	s := goodWeb(t)
	mia, kim := operator("mia"), s.joins("kim", &skerryv1.Grant{Role: "operator"})
	mounts := strings.Replace(workload("web", ""), `"image":"site.local/web:1"`,
		`"image":"site.local/web:1","mounts":[{"target":"/host","hostPath":"/var/lib/skerry"}]`, 1)
	if got := s.call(&mia, apply, resourcesOf(mounts)); got.code() != "" {
		t.Fatalf("it is not taken: %v", got.body)
	}
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{Kind: "Placement", Project: "default", Name: "web-1"}}})
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
		Node: "n1", Placements: []*sitev1.PlacementReport{{Project: "default", Placement: "web-1", Gone: true}},
	}}}}})
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{BaseIndex: s.store.View().Index(), Create: []*sitev1.NewPlacement{{
		Project: "default", Workload: "web", Generation: 2,
	}}}}})
	s.verdict(2, sitev1.RolloutVerdict_ROLLOUT_VERDICT_GOOD)
	if got := s.call(&kim, apply, web2("")); got.code() != "" {
		t.Fatalf("it is not taken: %v", got.body)
	}
	for _, body := range []string{
		`{"name":"web","action":"STEER_ACTION_ROLL_BACK"}`,
		`{"name":"web","action":"STEER_ACTION_ROLL_BACK","generation":"2"}`,
		`{"name":"web","action":"STEER_ACTION_ABORT"}`,
		`{"name":"web","action":"STEER_ACTION_ABORT","generation":"1"}`,
	} {
		if got := s.call(&kim, steer, body); got.code() != "permission_denied" {
			t.Errorf("%s: %v", body, got.body)
		}
	}
	if got := s.call(&mia, steer, `{"name":"web","action":"STEER_ACTION_ABORT"}`); got.code() != "" {
		t.Errorf("whoever may: %v", got.body)
	}
}

// TestAPlanShowsNobodyWhatTheyMayNotRead: who may only apply learns what would
// become of it, not what was there.
func TestAPlanShowsNobodyWhatTheyMayNotRead(t *testing.T) {
	s := goodWeb(t)
	mia, kim := operator("mia"), s.joins("kim")
	if got := s.call(&mia, apply, policyBody("pipeline", `permit (principal == Operator::"kim", action == Action::"apply", resource is Workload);`)); got.code() != "" {
		t.Fatal(got.body)
	}
	got := s.call(&kim, plan, web2(""))
	if got.code() != "" {
		t.Fatalf("it gave %v", got.body)
	}
	answer, _ := json.Marshal(got.body)
	if strings.Contains(string(answer), "web:1") || !strings.Contains(string(answer), `"outcome":"configured"`) {
		t.Errorf("the plan is %s", answer)
	}
}

func TestEndpointsOfAWorkloadThatDoesNotExist(t *testing.T) {
	s, mia := goodWeb(t), operator("mia")
	if got := s.call(&mia, "NamingService/Endpoints", `{"workload":"wbe"}`); got.code() != "not_found" {
		t.Errorf("a name with a typo: %v", got.body)
	}
	if got := s.call(&mia, "NamingService/Endpoints", `{"workload":"web"}`); got.code() != "" {
		t.Errorf("a name that exists: %v", got.body)
	}
}
