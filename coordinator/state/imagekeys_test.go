package state

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/ticket"
)

func imageKey(key byte) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_RotateImageKey{RotateImageKey: &sitev1.RotateImageKey{Key: bytes.Repeat([]byte{key}, ticket.KeySize)}}}
}

// pass lets site time go on.
func (s *site) pass(by time.Duration) {
	s.index++
	s.store.Apply(s.index, &sitev1.Entry{
		Time:   timestamppb.New(s.store.View().Time().AsTime().Add(by)),
		Change: &sitev1.Entry_CheckHash{CheckHash: &sitev1.CheckHash{}},
	})
}

func TestTicketsAreMadeWithAKeyThatAllSourcesHave(t *testing.T) {
	s := newSite(t, 1)
	if s.store.View().TicketKey() != nil || !s.store.View().ImageKeyDue() {
		t.Fatal("there is a key, or none is due")
	}
	s.refused("invalid", &sitev1.Entry{Change: &sitev1.Entry_RotateImageKey{RotateImageKey: &sitev1.RotateImageKey{Key: []byte("short")}}})
	for day, want := range []struct{ keys, ticket string }{{"\x01", "\x01"}, {"\x01\x02", "\x01"}, {"\x01\x02\x03", "\x02"}, {"\x02\x03\x04", "\x03"}} {
		s.ok(imageKey(byte(day + 1)))
		s.refused("conflict", imageKey(99)) // it is not due
		view := s.store.View()
		var keys []byte
		for _, key := range view.ImageKeys() {
			keys = append(keys, key[0])
		}
		if string(keys) != want.keys || string(view.TicketKey()[:1]) != want.ticket {
			t.Errorf("day %d: keys %q, tickets by %q", day, keys, view.TicketKey()[:1])
		}
		s.pass(imageKeyLife)
	}
	before := s.store.View().ImageKeys()
	s.restart()
	if got := s.store.View().ImageKeys(); len(got) != len(before) || !bytes.Equal(got[0], before[0]) {
		t.Errorf("a restart gave %v", got)
	}
}

func TestANewImageKeyConcernsAllNodes(t *testing.T) {
	s := newSite(t, 1)
	s.ok(imageKey(1))
	if view := s.store.View(); view.CommonIndex() != view.Index() {
		t.Error("nobody is told")
	}
}
