package api

import (
	"fmt"
	"strings"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func TestWhyTellsOfWhatHadToMakeRoom(t *testing.T) {
	s := goodWeb(t)
	s.must(apply, resourcesOf(workload("urgent", `,"priority":10`)))
	plan := func(p *sitev1.Plan) {
		p.BaseIndex = s.store.View().Index()
		s.commit(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: p}})
	}
	plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{{Project: "default", Workload: "urgent", Generation: 1}}})
	plan(&sitev1.Plan{Evict: []*sitev1.Eviction{{Project: "default", Placement: "web-1", ForProject: "default", ForPlacement: "urgent-1"}}})
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
		Node: "n1", Placements: []*sitev1.PlacementReport{{Project: "default", Placement: "web-1", Gone: true}},
	}}}}})
	if s.store.View().Placement("default", "web-1") != nil {
		t.Fatal("web-1 is still there")
	}
	const says = "on n1 it gives way to urgent-1 of priority 10; its own is 0"
	if got := fmt.Sprint(s.must(explain, `{"name":"web"}`).body["events"]); !strings.Contains(got, says) {
		t.Errorf("why web tells %s", got)
	}
	if got := fmt.Sprint(s.must(explain, `{"name":"urgent"}`).body["events"]); strings.Contains(got, says) {
		t.Errorf("why urgent tells %s", got)
	}
	mia := operator("mia")
	if got := s.call(&mia, explain, `{"name":"web-1"}`); got.code() != "not_found" || !strings.Contains(got.message(), says) {
		t.Errorf("why web-1 tells %v", got.body)
	}
}
