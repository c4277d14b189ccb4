package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"skerry.dev/chaos/hosts"
)

const (
	// Three hosts are the fewest with a majority to lose.
	minSite, maxSite = 3, 20
	minRate, maxRate = 1, 5000
)

// check what was asked for, before anything is made.
func (o options) check(chosen []nemesis) error {
	var all []error
	refuse := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	if o.hosts < minSite || o.hosts > maxSite {
		refuse("-hosts %d: a site of %d to %d can be struck", o.hosts, minSite, maxSite)
	}
	if o.rate < minRate || o.rate > maxRate {
		refuse("-rate %d: %d to %d operations a second can be tried", o.rate, minRate, maxRate)
	}
	if o.count < 1 {
		refuse("-count %d: give at least 1", o.count)
	}
	if o.keep == "" {
		refuse("-keep names no folder for what tells of failures")
	}
	if !filepath.IsAbs(o.binary) {
		refuse("-binary %q: give an absolute path", o.binary)
	} else if err := hosts.Program(o.binary); err != nil {
		refuse("-binary: %w", err)
	}
	if !slices.ContainsFunc(chosen, func(n nemesis) bool { return n.name == "older-binary" }) {
		return errors.Join(all...)
	}
	if !filepath.IsAbs(o.older) {
		refuse("-older %q: older-binary needs the absolute path of one; or leave it out with -only", o.older)
	} else if err := hosts.Program(o.older); err != nil {
		refuse("-older: %w", err)
	}
	return errors.Join(all...)
}
