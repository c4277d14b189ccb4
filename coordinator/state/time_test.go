package state

import (
	"crypto/sha256"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func stamped(at, reference time.Time, era uint64) *sitev1.Entry {
	return &sitev1.Entry{
		Time: timestamppb.New(at), Reference: timestamppb.New(reference), TimeEra: era,
		Change: &sitev1.Entry_CheckHash{CheckHash: &sitev1.CheckHash{}},
	}
}

func TestStampsNeverGoBackAndNeverRunAhead(t *testing.T) {
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store, index := New(), uint64(0)
	for _, c := range []struct {
		name       string
		entry      *sitev1.Entry
		want       time.Time
		wantByWord uint64
	}{
		{"the first one", stamped(begun, begun, 0), begun, 0},
		{"one that is earlier", stamped(begun.Add(-time.Hour), begun, 0), begun, 0},
		{"one that is later", stamped(begun.Add(time.Minute), begun.Add(time.Second), 0), begun.Add(time.Minute), 0},
		{"one that is years ahead", stamped(begun.AddDate(10, 0, 0), begun.Add(time.Second), 0), begun.Add(time.Hour + time.Second), 0},
		{"one without a reference", &sitev1.Entry{Time: timestamppb.New(begun.AddDate(10, 0, 0)), Change: &sitev1.Entry_CheckHash{}}, begun.Add(time.Hour + time.Second), 0},
		{"one of another era", stamped(begun.AddDate(10, 0, 0), begun.AddDate(10, 0, 0), 1), begun.Add(time.Hour + time.Second), 0},
	} {
		index++
		store.Apply(index, c.entry)
		if got := store.View().Stamp(); !got.Time.Equal(c.want) || got.Era != c.wantByWord {
			t.Errorf("%s: site time is %s of era %d, want %s", c.name, got.Time, got.Era, c.want)
		}
	}
}

func TestAnOperatorsWordMovesSiteTimeAlsoBack(t *testing.T) {
	s := newSite(t, 1)
	trust := s.store.View().Trust()
	last := sha256.Sum256(trust[len(trust)-1].GetBody())
	body, err := proto.Marshal(&sitev1.TrustBody{Site: s.store.View().Site(), Version: uint64(len(trust)) + 1, Previous: last[:], TimeEra: 1})
	if err != nil {
		t.Fatal(err)
	}
	to := time.Date(2001, 3, 1, 12, 0, 0, 0, time.UTC)
	entry := func() *sitev1.Entry {
		return &sitev1.Entry{Change: &sitev1.Entry_SetSiteTime{SetSiteTime: &sitev1.SetSiteTime{
			Time: timestamppb.New(to), Version: &sitev1.TrustVersion{Body: body},
		}}}
	}
	s.ok(entry())
	if got := s.store.View().Stamp(); !got.Time.Equal(to) || got.Era != 1 || len(s.store.View().Trust()) != len(trust)+1 {
		t.Errorf("site time is %v", got)
	}
	s.refused("conflict", entry())
	s.restart()
	if got := s.store.View().Stamp(); !got.Time.Equal(to) || got.Era != 1 {
		t.Errorf("after a snapshot site time is %v", got)
	}
}

// The coordinator signs a new version of the chain of trust and reads the clocks
// anew each time that it is asked.
func TestWhoSetsSiteTimeAgainIsToldTheFirstResult(t *testing.T) {
	to := time.Date(2001, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name           string
		first, again   *sitev1.SetSiteTime
		isTheSameAgain bool
	}{
		{"a time", &sitev1.SetSiteTime{Time: timestamppb.New(to)}, &sitev1.SetSiteTime{Time: timestamppb.New(to)}, true},
		{"another time", &sitev1.SetSiteTime{Time: timestamppb.New(to)}, &sitev1.SetSiteTime{Time: timestamppb.New(to.Add(time.Second))}, false},
		{
			"the clocks, a second later", &sitev1.SetSiteTime{Time: timestamppb.New(to), Median: true},
			&sitev1.SetSiteTime{Time: timestamppb.New(to.Add(time.Second)), Median: true}, true,
		},
		{
			"the clocks, then a time", &sitev1.SetSiteTime{Time: timestamppb.New(to), Median: true},
			&sitev1.SetSiteTime{Time: timestamppb.New(to)}, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, 1)
			entry := func(change *sitev1.SetSiteTime) *sitev1.Entry {
				change.Version = s.nextEra()
				return &sitev1.Entry{RequestId: "r1", Change: &sitev1.Entry_SetSiteTime{SetSiteTime: change}}
			}
			first := s.ok(entry(test.first)).GetSiteTimeSet()
			if before := first.GetBefore().AsTime(); before.Year() != 1970 || !first.GetAfter().AsTime().Equal(to) {
				t.Errorf("it was told %v, want to %s", first, to)
			}
			if !test.isTheSameAgain {
				s.refused("conflict", entry(test.again))
				return
			}
			if got := s.ok(entry(test.again)).GetSiteTimeSet(); !proto.Equal(got, first) {
				t.Errorf("it was told %v, then %v", first, got)
			}
			if stamp := s.store.View().Stamp(); !stamp.Time.Equal(to) || stamp.Era != 1 {
				t.Errorf("site time is %v", stamp)
			}
		})
	}
}

// TestWhatLastsAWhileLastsAsLongWhenTimeIsSet: nothing waits for years, or ends
// at once, because site time was wrong.
func TestWhatLastsAWhileLastsAsLongWhenTimeIsSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"back": -10 * 365 * 24 * time.Hour, "ahead": 10 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 2)
			s.setTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
			for range distrustFrom {
				s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
				s.setState("n2", skerryv1.NodeState_NODE_STATE_READY)
			}
			drain := duty("n2", skerryv1.Duty_DUTY_DRAINED)
			drain.GetChangeDuty().Deadline = timestamppb.New(s.store.View().Time().AsTime().Add(time.Minute))
			s.ok(drain)
			s.ok(applyEntry(testWorkload("load", 1, completes)))
			s.want(0, creates(&sitev1.NewPlacement{Project: "default", Workload: "load", Generation: 1, Run: 1}))
			s.want(0, assigns(assign("load-1", "n1")))
			s.report("n1", "load-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_FAILED, Revision: 1}, false)
			s.ok(imageKey(1))
			stop := stopEntry("")
			stop.GetStopSite().Deadline = timestamppb.New(s.store.View().Time().AsTime().Add(time.Minute))
			s.ok(stop)
			times := func() []time.Time {
				node, run := s.store.View().Node("n2"), s.store.View().Workload("default", "load").GetStatus().GetRuns()[0]
				return []time.Time{
					node.GetDistrust().GetUntil().AsTime(), node.GetDistrust().GetLost()[0].AsTime(), node.GetDuty().GetDrain().GetDeadline().AsTime(),
					run.GetStarted().AsTime(), run.GetFailedAt().AsTime(), s.store.View().Placement("default", "load-1").GetEnded().AsTime(),
					s.store.View().Stop().GetDeadline().AsTime(), s.store.View().meta.imageKeys.GetMade().AsTime(),
				}
			}
			before := times()
			s.setTime(s.store.View().Time().AsTime().Add(by))
			for i, at := range times() {
				if !at.Equal(before[i].Add(by)) {
					t.Errorf("number %d was %s and is %s", i, before[i], at)
				}
			}
		})
	}
}

func (s *site) setTime(to time.Time) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_SetSiteTime{SetSiteTime: &sitev1.SetSiteTime{Time: timestamppb.New(to), Version: s.nextEra()}}})
}

// nextEra of site time is a version of the chain of trust.
func (s *site) nextEra() *sitev1.TrustVersion {
	s.t.Helper()
	trust := s.store.View().Trust()
	last := sha256.Sum256(trust[len(trust)-1].GetBody())
	body, err := proto.Marshal(&sitev1.TrustBody{
		Site: s.store.View().Site(), Version: uint64(len(trust)) + 1, Previous: last[:], TimeEra: s.store.View().Stamp().Era + 1,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return &sitev1.TrustVersion{Body: body}
}
