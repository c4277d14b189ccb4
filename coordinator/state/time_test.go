package state

import (
	"crypto/sha256"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
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
