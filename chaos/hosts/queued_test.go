//go:build integration

package hosts

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const waiting = `
kind: Workload
name: %s
replicas: %d
container: {image: %s, ports: [{name: http, port: 8080}], resources: {cpu: 50m, memory: 16Mi}}
health: {http: {port: http, path: /healthz}, interval: 500ms}
stopGrace: 0s
`

// TestWhatWasQueuedOnTheSideThatIsCutOffIsMadeWhenItIsBack: or refused, if
// somebody was faster on the other side.
func TestWhatWasQueuedOnTheSideThatIsCutOffIsMadeWhenItIsBack(t *testing.T) {
	r := newSite(t, 4, 0)
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, fmt.Sprintf(waiting, "web", 1, webImage)+"---"+fmt.Sprintf(waiting, "old", 1, webImage))
	awaitHealthy(t, r, "web", 1)
	awaitHealthy(t, r, "old", 1)
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var plain, voter, rest []*Host // the operator stands beside each in turn
	for _, node := range status.GetNodes() {
		h := r.Host(node.GetName())
		switch votes := node.GetVoter().String() == "VOTER_ROLE_VOTER"; {
		case !votes:
			plain = append(plain, h)
		case len(voter) == 0 && node.GetName() != status.GetCoordinator():
			voter = append(voter, h)
		default:
			rest = append(rest, h)
		}
	}
	alone, minority := plain[0], voter[0]
	// Each of them hears nobody.
	for _, one := range []*Host{alone, minority} {
		others := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == one })
		if err := r.Cut(t.Context(), []*Host{one}, others); err != nil {
			t.Fatal(err)
		}
	}
	queue := func(h *Host, manifest string, args ...string) {
		t.Helper()
		await(t, r, "a queue on "+h.Name, patience, func(ctx context.Context) error {
			words := append([]string{r.Binary}, args...)
			out, err := h.Command(ctx, strings.NewReader(manifest), append(words, "--when-connected", "--address", h.API())...)
			if err == nil && !strings.Contains(out, "queued on "+h.Name) {
				err = fmt.Errorf("it said %q", out)
			}
			return err
		})
	}
	queue(alone, fmt.Sprintf(waiting, "new", 1, webImage), "apply", "-f", "-")
	queue(minority, "", "scale", "web", "--replicas", "2")
	queue(minority, "", "delete", "workload", "old")
	await(t, r, "a change on the other side", patience, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, strings.NewReader(fmt.Sprintf(waiting, "old", 2, webImage)), "apply", "-f", "-", "--address", rest[0].API())
		return err
	})
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, r, "all that was queued to be decided", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "queued")
		if err == nil && (strings.Count(out, "applied") != 2 || strings.Count(out, "refused") != 1 || !strings.Contains(out, "changed since")) {
			err = fmt.Errorf("it shows %s", out)
		}
		return err
	})
	awaitHealthy(t, r, "new", 1)
	awaitHealthy(t, r, "web", 2)
	awaitHealthy(t, r, "old", 2)
	if out := skerry(t, r, nil, "events"); !strings.Contains(out, "QueuedApplied") || !strings.Contains(out, "QueuedRefused") {
		t.Errorf("the events do not tell: %s", out)
	}
	if out := skerry(t, r, nil, "audit", "list", "--verb", "delete"); !strings.Contains(out, "queued on "+minority.Name) {
		t.Errorf("the audit log does not tell: %s", out)
	}
}
