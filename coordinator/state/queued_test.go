package state

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// queued is an entry that waited on n2, from somebody who knew the state of an
// index.
func queued(entry *sitev1.Entry, id string, index uint64) *sitev1.Entry {
	entry = proto.CloneOf(entry)
	entry.RequestId, entry.Principal = id, "spiffe://reef/operator/mia"
	entry.Queued = &sitev1.QueuedMark{SiteEpoch: 1, Index: index, Queued: &skerryv1.QueuedChange{
		RequestId: id, Principal: entry.GetPrincipal(), Verb: "apply", Resources: []string{"Workload/default/web"}, Node: "n2",
		Queued: &timestamppb.Timestamp{Seconds: 1}, Expires: &timestamppb.Timestamp{Seconds: 1_000},
	}}
	return entry
}

func TestAQueuedChangeIsRefusedWhenSomebodyWasFaster(t *testing.T) {
	web := func(replicas uint32) *sitev1.Entry {
		return applyEntry(testWorkload("web", replicas))
	}
	remove := deleteEntry("Workload", "web")
	for name, c := range map[string]struct {
		before, since []*sitev1.Entry
		change        *sitev1.Entry
		alter         func(*sitev1.QueuedMark)
		says          string // empty: it is made
	}{
		"nothing has happened":                 {change: web(2)},
		"it was there, and nothing happened":   {before: []*sitev1.Entry{web(1)}, change: web(2)},
		"somebody made it":                     {since: []*sitev1.Entry{web(1)}, change: web(2), says: "changed since"},
		"somebody changed it":                  {before: []*sitev1.Entry{web(1)}, since: []*sitev1.Entry{web(3)}, change: web(2), says: "changed since"},
		"somebody deleted it":                  {before: []*sitev1.Entry{web(1), &sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{BaseIndex: 1, Create: []*sitev1.NewPlacement{create("web", 1)}}}}}, since: []*sitev1.Entry{remove}, change: web(2), says: "deleted since"},
		"somebody changed it, before its end":  {before: []*sitev1.Entry{web(1)}, since: []*sitev1.Entry{web(3)}, change: remove, says: "changed since"},
		"its end, and nothing happened":        {before: []*sitev1.Entry{web(1)}, change: remove},
		"it waited for too long":               {change: web(2), alter: func(m *sitev1.QueuedMark) { m.Queued.Expires = &timestamppb.Timestamp{Seconds: 2} }, says: "waited until after"},
		"the site was recovered since":         {change: web(2), alter: func(m *sitev1.QueuedMark) { m.SiteEpoch = 0 }, says: "recovered since"},
		"a node told of an index to come":      {change: web(2), alter: func(m *sitev1.QueuedMark) { m.Index = 1 << 62 }, says: "cannot have been true"},
		"a node told of another year":          {change: web(2), alter: func(m *sitev1.QueuedMark) { m.Queued.Expires.Seconds += 365 * 24 * 3600 }, says: "cannot have been true"},
		"the coordinator refused it by itself": {change: &sitev1.Entry{Change: &sitev1.Entry_RefuseQueued{RefuseQueued: &sitev1.RefuseQueued{ErrorKind: "forbidden", Error: "mia may not"}}}, says: "mia may not"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 2)
			for _, entry := range c.before {
				s.ok(proto.CloneOf(entry))
			}
			known := s.index
			for _, entry := range c.since {
				s.ok(proto.CloneOf(entry))
			}
			entry := queued(c.change, "0a", known)
			if c.alter != nil {
				c.alter(entry.GetQueued())
			}
			workloads := fmt.Sprint(s.store.View().Workloads())
			outcome := s.apply(entry)
			if (outcome.GetErrorKind() == "") != (c.says == "") || !strings.Contains(outcome.GetError(), c.says) {
				t.Fatalf("it gave %v", outcome)
			}
			if c.says != "" && fmt.Sprint(s.store.View().Workloads()) != workloads {
				t.Error("it changed something")
			}
			decided := s.store.View().QueuedDecision("spiffe://reef/operator/mia", "0a")
			want := skerryv1.QueuedState_QUEUED_STATE_APPLIED
			if c.says != "" {
				want = skerryv1.QueuedState_QUEUED_STATE_REFUSED
			}
			if decided.GetState() != want || !strings.Contains(decided.GetReason(), c.says) || decided.GetNode() != "n2" {
				t.Errorf("what is remembered of it is %v", decided)
			}
			events := s.store.View().Events(0, 0)
			if last := events[len(events)-1]; !strings.HasPrefix(last.GetReason(), "Queued") {
				t.Errorf("the last event is %v", last)
			}
		})
	}
}

func TestAQueuedChangeIsMadeOnce(t *testing.T) {
	s := newSite(t, 2)
	entry := queued(applyEntry(testWorkload("web", 2)), "0a", s.index)
	s.ok(proto.CloneOf(entry))
	s.ok(deleteEntry("Workload", "web"))
	// What repeats it within the memory of requests gets the first answer.
	s.ok(proto.CloneOf(entry))
	entry.RequestId = "" // and beyond that it is refused
	if outcome := s.apply(entry); !strings.Contains(outcome.GetError(), "decided before") {
		t.Errorf("it gave %v", outcome)
	}
	if len(s.store.View().Workloads()) != 0 || len(s.store.View().Queued()) != 1 {
		t.Errorf("there are %v and %v", s.store.View().Workloads(), s.store.View().Queued())
	}
}

func TestOfQueuedChangesTheLastAreRememberedAndRestored(t *testing.T) {
	s := newSite(t, 2)
	for n := range maxQueued + 5 {
		s.ok(queued(applyEntry(testWorkload("web", uint32(n%3))), fmt.Sprintf("%04x", n), s.index))
	}
	encoded, err := s.store.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	restored := New()
	if err := restored.Restore(encoded); err != nil {
		t.Fatal(err)
	}
	got := restored.View().Queued()
	if len(got) != maxQueued || got[0].GetRequestId() != "0005" {
		t.Errorf("%d are remembered, from %s on", len(got), got[0].GetRequestId())
	}
}
