// Package prune decides which images a node removes: those that nothing here has
// used for long, once the site has said that nothing of it needs them here either.
// The core decides; Pruner looks and removes.
package prune

import (
	"cmp"
	"slices"
	"time"
)

const (
	// maxRound images go in one round, and maxHurried when room is short.
	maxRound, maxHurried = 16, 2
	// hurriedAge is how long an image must have been unused when room is short: what
	// was just loaded is known to the site by then, and what is just prepared is there.
	hurriedAge = 10 * time.Minute
	// Rounds are so far apart, and each waits so long for the site's answer.
	roundEvery, hurriedEvery = time.Hour, time.Minute
	patience                 = 30 * time.Second
)

// Image is one that is wholly here, by its content.
type Image struct {
	Digest string
	// Names of it, sorted.
	Names []string
	Bytes int64
}

// Look is what there is at one moment.
type Look struct {
	// At is elapsed time.
	At     time.Duration
	Images []Image
	// Used are the digests that the node's orders name, Fresh those that were loaded
	// or fetched since the last look.
	Used, Fresh map[string]bool
	// Released are those of the asked ones that the site releases; none without
	// contact to its coordinator.
	Released []string
	// Contact to the coordinator.
	Contact bool
	// Short of room.
	Short bool
}

// Core of a node that removes images unused for Age.
type Core struct {
	Age time.Duration

	// since when each image is unused.
	since   map[string]time.Duration
	asked   []string
	askedAt time.Duration
	// next round, not before.
	next time.Duration
}

// Asked are the images for which the node asks the site now, sorted.
func (c *Core) Asked() []string { return c.asked }

// Step takes in a look and names what to remove now, longest unused first.
func (c *Core) Step(look Look) []Image {
	c.observe(look)
	candidates := c.candidates(look)
	if !look.Contact || len(candidates) == 0 {
		c.asked = nil
		return nil
	}
	if c.asked != nil && look.At-c.askedAt > patience {
		c.asked = nil
		c.next = look.At + min(roundEvery, c.Age)
		if look.Short {
			c.next = look.At + hurriedEvery
		}
	}
	due := look.At >= c.next || look.Short && c.next-look.At > hurriedEvery
	if c.asked == nil {
		if !due || len(look.Released) > 0 { // an answer to an earlier question is none to this one
			return nil
		}
		for _, i := range candidates {
			c.asked = append(c.asked, i.Digest)
		}
		slices.Sort(c.asked)
		c.askedAt = look.At
		return nil
	}
	return slices.DeleteFunc(candidates, func(i Image) bool {
		return !slices.Contains(c.asked, i.Digest) || !slices.Contains(look.Released, i.Digest)
	})
}

// observe since when images are unused.
func (c *Core) observe(look Look) {
	before := c.since
	c.since = map[string]time.Duration{}
	for _, i := range look.Images {
		since, known := before[i.Digest]
		if !known || look.Used[i.Digest] || look.Fresh[i.Digest] {
			since = look.At
		}
		c.since[i.Digest] = since
	}
}

// candidates of a round, longest unused first.
func (c *Core) candidates(look Look) []Image {
	var old []Image
	hurried := 0
	all := slices.Clone(look.Images)
	slices.SortFunc(all, func(a, b Image) int {
		return cmp.Or(cmp.Compare(c.since[a.Digest], c.since[b.Digest]), cmp.Compare(a.Digest, b.Digest))
	})
	for _, i := range all {
		switch unused := look.At - c.since[i.Digest]; {
		case len(old) == maxRound || look.Used[i.Digest]:
		case unused >= c.Age:
			old = append(old, i)
		case look.Short && unused >= hurriedAge && hurried < maxHurried:
			hurried++
			old = append(old, i)
		}
	}
	return old
}

// unused is for how long an image is.
func (c *Core) unused(digest string, now time.Duration) time.Duration { return now - c.since[digest] }
