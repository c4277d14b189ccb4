package lifecycle

import (
	"strings"
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func TestFindMass(t *testing.T) {
	rule := manifest.LossesOf(nil)
	const s = time.Second
	for _, test := range []struct {
		name   string
		site   int
		losses []loss
		want   time.Duration // until
	}{
		{"nothing is lost", 6, nil, never},
		{"one node", 1, []loss{{"a", s}}, never},
		{"a third is not more than a third", 6, []loss{{"a", s}, {"b", s}}, never},
		{"two of five at once", 5, []loss{{"a", s}, {"b", s}}, 61 * s},
		{"two of five within ten seconds", 5, []loss{{"a", s}, {"b", 11 * s}}, 71 * s},
		{"two of five in more than ten seconds", 5, []loss{{"a", s}, {"b", 11*s + 1}}, never},
		{"a whole zone", 5, []loss{{"a", s}, {"a", s}, {"a", s}}, never},
		{"a whole zone and one more", 5, []loss{{"a", s}, {"a", s}, {"a", s}, {"b", 2 * s}}, 62 * s},
		{"one after the other", 5, []loss{{"a", s}, {"b", 9 * s}, {"c", 18 * s}}, 78 * s},
		{"long ago and now", 5, []loss{{"a", -100 * s}, {"b", s}}, never},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := findMass(rule, test.losses, test.site).until; got != test.want {
				t.Errorf("replacing waits until %s, want %s", got, test.want)
			}
		})
	}
	half := manifest.LossesOf(&skerryv1.Settings{Losses: &skerryv1.Losses{Nodes: 3, Percent: 50, Window: "1s", Wait: "5s"}})
	for want, losses := range map[time.Duration][]loss{
		never: {{"a", s}, {"b", s}}, 6 * s: {{"a", s}, {"b", s}, {"b", s}}, 7 * s: {{"a", s}, {"b", 2 * s}, {"b", 2 * s}},
	} {
		if got := findMass(half, losses, 5).until; got != want {
			t.Errorf("with settings, replacing waits until %s, want %s", got, want)
		}
	}
	rule = manifest.LossesOf(&skerryv1.Settings{Losses: &skerryv1.Losses{Wait: "0s"}})
	if got := findMass(rule, []loss{{"a", s}, {"b", s}}, 3).until; got != never {
		t.Errorf("turned off, replacing waits until %s", got)
	}
}

func TestTheFirstLossIsHandledAtOnceAndTheRestWaits(t *testing.T) {
	s := newSite(t, 5)
	s.applyWorkload(testWorkload("web", 5))
	s.pass(3 * time.Second)
	s.nodes["n4"].cut = true
	s.pass(2 * time.Second)
	s.nodes["n5"].cut = true
	s.pass(20 * time.Second)
	s.want("web-1 on n1", "web-2 on n2", "web-3 on n3",
		"web-4 on n4, lost, replaced by web-6", "web-5 on n5, lost", "web-6 on n1")
	if !strings.Contains(s.waiting, "2 of 5 nodes are lost") || !strings.Contains(s.waiting, "that wait: 1") {
		t.Errorf("it says it waits because of %q", s.waiting)
	}
	// A new coordinator waits no less and no more.
	s.newTerm()
	s.pass(38 * time.Second)
	if got := s.healthy("web"); got != 4 || s.waiting == "" {
		t.Errorf("%d are healthy, and it waits because of %q", got, s.waiting)
	}
	s.pass(5 * time.Second)
	if got := s.healthy("web"); got != 5 || s.waiting != "" {
		t.Errorf("after a minute %d are healthy, and it waits because of %q", got, s.waiting)
	}
}

func TestALostZoneIsReplacedAtOnce(t *testing.T) {
	s := newSite(t, 6, "a", "b")
	s.applyWorkload(testWorkload("web", 6))
	s.pass(3 * time.Second)
	for _, node := range []string{"n2", "n4", "n6"} {
		s.nodes[node].off = true
	}
	s.pass(3 * time.Second)
	if got := s.healthy("web"); got != 6 || s.waiting != "" {
		t.Errorf("%d are healthy, and it waits because of %q", got, s.waiting)
	}
}
