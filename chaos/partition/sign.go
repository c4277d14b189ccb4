package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// signEvery is how often a sign is looked for.
const signEvery = 100 * time.Millisecond

// sign is what the site must tell of the node of a host while a fault lasts, or until
// the site is whole: without it the fault has struck nothing.
type sign struct {
	of   *hosts.Host
	what string
	seen func(node *skerryv1.Node) bool
}

// missed says that it was not seen.
func (g *sign) missed() string {
	return fmt.Sprintf("it was not felt: %s never showed %s", g.of.Name, g.what)
}

// saysCondition: the node has a condition.
func saysCondition(name string) func(*skerryv1.Node) bool {
	return func(node *skerryv1.Node) bool {
		return slices.ContainsFunc(node.GetConditions(), func(c *skerryv1.Condition) bool { return c.GetType() == name })
	}
}

// saysVersion: the node runs a build.
func saysVersion(version string) func(*skerryv1.Node) bool {
	return func(node *skerryv1.Node) bool { return node != nil && node.GetVersion() == version }
}

// givesUp: the node says that its replica has halted, or has written that down: the
// site may have given it another one before it could say so.
func givesUp(replica string) func(*skerryv1.Node) bool {
	return func(node *skerryv1.Node) bool {
		_, err := os.Stat(filepath.Join(replica, haltedFile))
		return err == nil || saysCondition(voterHalted)(node)
	}
}

// haltedFile of a replica says why it must never run again.
const haltedFile = "halted"

// watch for a sign until told to stop, which tells whether it was seen.
func (s *site) watch(ctx context.Context, g *sign) (stop func() bool) {
	if g == nil {
		return func() bool { return true }
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	seen := false
	group.Go(func() {
		for !seen && ctx.Err() == nil {
			// Without an answer there are still the node's files.
			node, err := s.node(ctx, g.of)
			if err != nil {
				node = nil
			}
			seen = g.seen(node)
			_ = hosts.Sleep(ctx, signEvery) // the loop looks
		}
	})
	return func() bool {
		cancel()
		group.Wait()
		return seen
	}
}

// versionOf a binary, as its node tells it.
func versionOf(ctx context.Context, binary string) (string, error) {
	said, err := exec.CommandContext(ctx, binary, "version").Output()
	words := strings.Fields(string(said))
	if err != nil || len(words) < 2 {
		return "", fmt.Errorf("%s version says %q, in which no version was found (%v)", binary, said, err)
	}
	return words[1], nil
}
