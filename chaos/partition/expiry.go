package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"skerry.dev/chaos/hosts"
)

const (
	// svidLife is the shortest that settings allow, expireAfter what lets every
	// SVID of that life expire.
	svidLife    = "1h"
	expireAfter = 2 * time.Hour
)

// shortLives makes SVIDs of nodes that join from now on short-lived.
const shortLives = `
kind: Settings
name: site
lifetimes: {node: ` + svidLife + `}
`

// expire lets the SVIDs of all nodes expire, by setting site time ahead, and cuts a
// host off before it has another one. It comes back, under load, with an SVID that
// counts nowhere any more.
func expire(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	status, err := s.Status(ctx)
	if err != nil {
		return fault{}, err
	}
	then := status.GetSiteTime().AsTime().Add(expireAfter).Truncate(time.Second)
	var short []*hosts.Host
	for _, node := range status.GetNodes() {
		if expires := node.GetSvidExpires(); expires != nil && expires.AsTime().Before(then) {
			short = append(short, s.Host(node.GetName()))
		}
	}
	if len(short) == 0 {
		return fault{}, errors.New("no SVID ends before " + then.String())
	}
	h := short[rng.IntN(len(short))]
	f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 1, 8)}
	f.end = func(ctx context.Context) error { return errors.Join(s.Heal(ctx), s.renewed(ctx, then)) }
	err = s.Until(ctx, "the site's time to be set", writeTime, func(ctx context.Context) error {
		_, err := s.Rig.Skerry(ctx, nil, "site", "time", "set", then.Format(time.RFC3339))
		return err
	})
	if err != nil {
		return f, err
	}
	return f, s.Cut(ctx, []*hosts.Host{h}, s.others(h))
}

// renewed waits until the SVID of every node counts at a time and after it.
func (s *site) renewed(ctx context.Context, at time.Time) error {
	return s.Until(ctx, "SVIDs that count", wholeTime, func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err != nil {
			return err
		}
		var late []string
		for _, node := range status.GetNodes() {
			if s.Host(node.GetName()) != nil && !node.GetSvidExpires().AsTime().After(at) {
				late = append(late, node.GetName())
			}
		}
		if len(late) > 0 {
			return fmt.Errorf("those of %s ended before %s", strings.Join(late, ", "), at)
		}
		return nil
	})
}
