package dispatcher

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// offer: a node holds images, and would remove some.
func (s *testSite) offer(node string, holds []string, surplus ...string) {
	s.must(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{
		{Node: node, Facts: &sitev1.NodeFacts{
			Capacity: &skerryv1.Capacity{CpuMilli: 4000, MemoryBytes: 1 << 30}, Images: holds, SurplusImages: surplus,
		}},
	}}}})
}

func (s *testSite) released(node, digest string) bool {
	return slices.Contains(SiteOf(s.store.View()).Own(node, 2).GetReleasedImages(), digest)
}

func TestAnImageIsReleasedWhenNothingNeedsItThere(t *testing.T) {
	unknown := fmt.Sprintf("sha256:%x", key("deleted long ago"))
	for name, test := range map[string]struct {
		change func(s *testSite, digest string)
		want   bool
	}{
		"the copies that the site keeps are all there": {func(*testSite, string) {}, true},
		"a keeper has not fetched its copy":            {func(s *testSite, _ string) { s.report("n3") }, false},
		"a keeper would remove it, too":                {func(s *testSite, digest string) { s.offer("n3", []string{digest}, digest) }, false},
		"a workload names it, and runs elsewhere":      {func(s *testSite, _ string) { s.bind("n5", "site.local/web:1") }, false},
		"a placement comes here":                       {func(s *testSite, _ string) { s.bind("n4", "site.local/web:1") }, false},
		"the name means another image now": {func(s *testSite, _ string) {
			s.must(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
				Name: "site.local/web:1", Digest: unknown, Size: 1, Nodes: []string{"n1"},
			}}}})
		}, true},
		"the name means another image now, and something runs the old one": {func(s *testSite, _ string) {
			s.bind("n5", "site.local/web:1")
			s.must(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
				Name: "site.local/web:1", Digest: unknown, Size: 1, Nodes: []string{"n1"},
			}}}})
		}, false},
		"it was deleted": {func(s *testSite, _ string) {
			s.must(&sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{Kind: "Image", Name: "site.local/web:1"}}})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, digest := ticketSite(t)
			for _, node := range []string{"n1", "n2", "n3"} {
				s.report(node, digest)
			}
			s.offer("n4", []string{digest}, digest)
			test.change(s, digest)
			if got := s.released("n4", digest); got != test.want {
				t.Errorf("it is released: %v", got)
			}
		})
	}
}

func TestAKeeperKeepsItsCopyWhateverItAsks(t *testing.T) {
	s, digest := ticketSite(t)
	for n := 1; n <= 6; n++ {
		s.offer(fmt.Sprintf("n%d", n), []string{digest}, digest)
	}
	for n := 1; n <= 6; n++ {
		if s.released(fmt.Sprintf("n%d", n), digest) {
			t.Errorf("n%d may remove it while all would", n)
		}
	}
}

// What the site has of one view is not used for the next one.
func TestAWorkloadThatComesLaterKeepsItsImage(t *testing.T) {
	s, digest := ticketSite(t)
	for _, node := range []string{"n1", "n2", "n3"} {
		s.report(node, digest)
	}
	s.offer("n4", []string{digest}, digest)
	before := surveyOf(s.store.View(), nil)
	if !slices.Contains(own(s.store.View(), before, "n4", 2).GetReleasedImages(), digest) {
		t.Fatal("it is not released")
	}
	s.bind("n5", "site.local/web:1")
	if slices.Contains(own(s.store.View(), before, "n4", 2).GetReleasedImages(), digest) {
		t.Error("it is released though a workload names it")
	}
}

// Whatever nodes hold and ask for, removing all that is released leaves each image
// on all of its keepers, which are as many as the site promises.
func TestNoReleaseTakesTheCopiesOfTheSite(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s, digest := ticketSite(t)
		holds := map[string]bool{}
		for n := 1; n <= 6; n++ {
			node := fmt.Sprintf("n%d", n)
			if holds[node] = rapid.Bool().Draw(r, node+" holds"); !holds[node] {
				s.offer(node, nil)
			} else if rapid.Bool().Draw(r, node+" asks") {
				s.offer(node, []string{digest}, digest)
			} else {
				s.offer(node, []string{digest})
			}
		}
		removed := false
		for node := range holds {
			if s.released(node, digest) {
				holds[node], removed = false, true
			}
		}
		for _, keeper := range keepers(s.store.View().Image("site.local/web:1"), surveyOf(s.store.View(), nil).ready) {
			if removed && !holds[keeper] {
				r.Errorf("%s is to keep a copy and has none", keeper)
			}
		}
	})
}
