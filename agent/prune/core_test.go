package prune

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const age = 6 * time.Hour

// site answers what it is asked.
type site struct {
	Core
	look Look
}

func newSite(digests ...string) *site {
	s := &site{Core: Core{Age: age}, look: Look{Contact: true, Used: map[string]bool{}}}
	for _, d := range digests {
		s.look.Images = append(s.look.Images, Image{Digest: d, Names: []string{d}, Bytes: 1})
	}
	return s
}

// after some time, what is removed.
func (s *site) after(d time.Duration) []string {
	s.look.At += d
	var digests []string
	for _, i := range s.Step(s.look) {
		digests = append(digests, i.Digest)
	}
	s.look.Fresh = nil
	return digests
}

func TestAnUnusedImageGoesWhenTheSiteReleasesIt(t *testing.T) {
	s := newSite("a", "b")
	s.look.Used["b"] = true
	s.after(0)
	if s.after(age - time.Second); len(s.Asked()) > 0 {
		t.Errorf("it asks for %v early", s.Asked())
	}
	if s.after(time.Second); !slices.Equal(s.Asked(), []string{"a"}) {
		t.Fatalf("it asks for %v", s.Asked())
	}
	if gone := s.after(time.Second); gone != nil {
		t.Errorf("%v goes unanswered", gone)
	}
	s.look.Released = []string{"a", "b"}
	if gone := s.after(time.Second); !slices.Equal(gone, []string{"a"}) {
		t.Errorf("%v goes", gone)
	}
}

func TestNothingGoesThatMayBeNeeded(t *testing.T) {
	for name, change := range map[string]func(s *site){
		"there is no contact":                      func(s *site) { s.look.Contact = false },
		"an assignment has come meanwhile":         func(s *site) { s.look.Used["a"] = true },
		"it was loaded again meanwhile":            func(s *site) { s.look.Fresh = map[string]bool{"a": true} },
		"the site has something else released":     func(s *site) { s.look.Released = []string{"b"} },
		"the answer is one to an earlier question": func(s *site) { s.after(patience + time.Second); s.after(roundEvery) },
		"there was no contact for a while":         func(s *site) { s.look.Contact = false; s.after(1); s.look.Contact = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite("a")
			s.after(0)
			if s.after(age); len(s.Asked()) != 1 {
				t.Fatal("it does not ask")
			}
			s.look.Released = []string{"a"}
			change(s)
			if gone := s.after(time.Second); gone != nil {
				t.Errorf("%v goes", gone)
			}
		})
	}
}

func TestWhenRoomIsShortAFewGoEarlier(t *testing.T) {
	s := newSite("a", "b", "c")
	s.look.Short = true
	s.after(0)
	if s.after(hurriedAge - time.Second); len(s.Asked()) > 0 {
		t.Errorf("it asks for %v", s.Asked())
	}
	if s.after(time.Second); !slices.Equal(s.Asked(), []string{"a", "b"}) {
		t.Errorf("it asks for %v", s.Asked())
	}
}

// Whatever happens: what goes is unused for long enough, released in answer to a
// question that stands, and no more at once than a round may take.
func TestOnlyWhatNothingUsesGoes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newSite()
		for n := range 24 {
			s.look.Images = append(s.look.Images, Image{Digest: fmt.Sprintf("%02d", n)})
		}
		lastUse := map[string]time.Duration{}
		some := rapid.SliceOfDistinct(rapid.SampledFrom(s.look.Images), func(i Image) string { return i.Digest })
		digests := func(label string) []string {
			var all []string
			for _, i := range some.Draw(r, label) {
				all = append(all, i.Digest)
			}
			return all
		}
		s.after(0)
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			s.look.Contact, s.look.Short = rapid.Bool().Draw(r, "contact"), rapid.Bool().Draw(r, "short")
			clear(s.look.Used)
			fresh := map[string]bool{}
			passed := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, hurriedAge, age}).Draw(r, "passed")
			for _, d := range digests("used") {
				s.look.Used[d], lastUse[d] = true, s.look.At+passed
			}
			for _, d := range digests("fresh") {
				fresh[d], lastUse[d] = true, s.look.At+passed
			}
			s.look.Fresh, s.look.Released = fresh, digests("released")
			asked := slices.Clone(s.Asked())
			gone := s.after(passed)
			if len(gone) > maxRound {
				r.Fatalf("%d go at once", len(gone))
			}
			for _, d := range gone {
				unused := s.look.At - lastUse[d]
				if s.look.Used[d] || !s.look.Contact || !slices.Contains(s.look.Released, d) || !slices.Contains(asked, d) ||
					unused < hurriedAge || unused < age && !s.look.Short {
					r.Fatalf("%s goes: used %v, contact %v, released %v, asked %v, unused for %s", d, s.look.Used[d], s.look.Contact, s.look.Released, asked, unused)
				}
			}
		}
	})
}
