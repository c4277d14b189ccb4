//go:build integration

package hosts

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// A coordinator that is stopped for four fifths of the time is never silent for long
// enough to be replaced; it hands its office over by itself, and tells so.
func TestACoordinatorThatStandsStillAgainAndAgainGivesWay(t *testing.T) {
	r := newSite(t, 3, 0)
	await(t, r, "the site to settle", time.Minute, r.Unsettled)
	slow, _, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- slow.Stutter(ctx, 200*time.Millisecond, 50*time.Millisecond) }()
	begun := time.Now()
	await(t, r, "another coordinator", time.Minute, func(ctx context.Context) error {
		leads, _, err := r.Coordinator(ctx)
		if err == nil && leads == slow {
			err = fmt.Errorf("%s still is the coordinator", slow.Name)
		}
		return err
	})
	t.Logf("it took %s", time.Since(begun).Round(time.Millisecond))
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	told, err := os.ReadFile(slow.AgentLog())
	if err != nil {
		t.Fatal(err)
	}
	if want := "this node stands still again and again, so all writes wait: another voter takes over"; !strings.Contains(string(told), want) {
		t.Errorf("its log does not say %q", want)
		tellLogs(t, r)
	}
}
