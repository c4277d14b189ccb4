//go:build integration

package hosts

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// The scheduler keeps to residency, so a node comes to refuse what it was ordered
// only when it is somewhere else meanwhile.
func TestANodeThatRefusesWhatMustBeKeptElsewhereIsInTheAuditLog(t *testing.T) {
	r := newSite(t, 1, 0)
	h := r.Hosts[0]
	loadImage(t, r, "web.tar", webImage)
	skerry(t, r, nil, "node", "label", h.Name, "hall=a")
	apply(t, r, strings.Replace(web(1), "name: web\n", "name: web\nplace: {keepIn: [{label: hall, in: [a]}]}\n", 1))
	ran := awaitHealthy(t, r, "web", 1)[0].GetName()
	skerry(t, r, nil, "node", "label", h.Name, "hall=b")
	for _, one := range containerPIDs(t, h) {
		name, _, _ := strings.Cut(one, "=")
		if _, err := h.Command(t.Context(), nil, "ctr", "-n", "skerry", "tasks", "kill", "--signal", "SIGKILL", name); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, "the refusal to be in the audit log", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "audit", "list", "--verb", "refused", "-o", "json")
		for _, part := range []string{`"witness": "` + h.Name + `"`, "Placement/default/" + ran, "it must be kept where label hall is a", `"principal": "coordinator"`} {
			if err == nil && !strings.Contains(strings.ReplaceAll(out, `":"`, `": "`), part) {
				err = fmt.Errorf("%s is not in %s", part, out)
			}
		}
		return err
	})
}
