package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func duty(node string, d skerryv1.Duty) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_ChangeDuty{ChangeDuty: &sitev1.ChangeDuty{Node: node, Duty: d, Reason: "the fan is loud"}}}
}

func TestACordonedNodeGetsNothingNew(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("web", 2)))
	s.want(0, creates(create("web", 1), create("web", 1)))
	s.ok(duty("n2", skerryv1.Duty_DUTY_CORDONED))
	s.want(1, assigns(assign("web-1", "n2"), assign("web-2", "n1")))
	if got := s.store.View().Node("n2").GetDuty(); got.GetReason() != "the fan is loud" || got.GetSince() == nil {
		t.Errorf("the node says %v", got)
	}
	s.ok(duty("n2", skerryv1.Duty_DUTY_UNSPECIFIED))
	s.want(0, assigns(assign("web-1", "n2")))
}

func TestWhatStaysOnACordonedNodeComesBackToIt(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("db", 1, func(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{Mode: manifest.Stay} })))
	s.want(0, creates(create("db", 1)))
	s.want(0, assigns(assign("db-1", "n2")))
	s.ok(duty("n2", skerryv1.Duty_DUTY_CORDONED))
	s.ok(deleteEntry("Placement", "db-1"))
	again := create("db", 1)
	again.Replaces = "db-1"
	s.want(0, creates(again))
	s.report("n2", "db-1", nil, true)
	s.want(0, assigns(assign("db-2", "n2")))
}

func TestDutiesThatCannotBe(t *testing.T) {
	s := newSite(t, 2)
	s.refused("not_found", duty("n9", skerryv1.Duty_DUTY_CORDONED))
	s.refused("invalid", duty("n2", 99))
	long := duty("n2", skerryv1.Duty_DUTY_CORDONED)
	long.GetChangeDuty().Reason = string(make([]byte, maxMessage+1))
	s.refused("invalid", long)
}
