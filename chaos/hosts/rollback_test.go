//go:build integration

package hosts

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	worseImage = "site.local/web:2"
	goesBack   = "update: {maxUnavailable: 1, minHealthy: 1s, deadline: 10s, autoRollback: true}\n"
	// callers on every host ask for web by its name without pause.
	callers = `
kind: Workload
name: caller
perNode: true
container:
  image: ` + webImage + `
  command: [caller, load, ":9090", ` + webName + `, "1"]
  ports: [{name: http, port: 9090, hostPort: 18200}]
  resources: {cpu: 50m, memory: 64Mi}
`
)

// TestABadUpdateGoesBackByItselfAndLosesNoRequest: of a new image no placement
// becomes healthy. The site goes back to the last good one, and all that ask for
// the workload by its name are answered all along.
func TestABadUpdateGoesBackByItselfAndLosesNoRequest(t *testing.T) {
	r := newSite(t, 3, 0)
	loadImage(t, r, "web.tar", webImage, caller(t, r))
	loadImage(t, r, "worse.tar", worseImage)
	apply(t, r, web(3)+goesBack)
	awaitHealthy(t, r, "web", 3)
	awaitLine(t, r, []string{"history", "web"}, "good")
	before := webPIDs(t, r)
	apply(t, r, callers)
	awaitCalls(t, r, 100)

	worse := strings.Replace(web(3)+goesBack, "image: "+webImage, "image: "+worseImage+"\n  command: [serve, httpd, -f, -p, \"8080\", -h, /tmp]", 1)
	apply(t, r, worse)
	awaitLine(t, r, []string{"history", "web"}, "failed")
	await(t, r, "three of the good image", patience, func(ctx context.Context) error {
		all, err := placements(ctx, clientOf(t, r))
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(p *skerryv1.Placement) bool { return p.GetWorkload() != "web" })
		good := slices.DeleteFunc(slices.Clone(all), func(p *skerryv1.Placement) bool {
			return !healthy(p) || p.GetSpec().GetContainer().GetImage() != webImage
		})
		if len(all) != 3 || len(good) != 3 {
			return fmt.Errorf("%d of %d are good", len(good), len(all))
		}
		return nil
	})
	calls := awaitCalls(t, r, 100)
	awaitCalls(t, r, calls+100)
	kept := slices.DeleteFunc(before, func(task string) bool { return !slices.Contains(webPIDs(t, r), task) })
	if len(kept) != 2 {
		t.Errorf("of the good ones %v went on all the time, want two", kept)
	}
}

// webPIDs are the first processes of web.
func webPIDs(t *testing.T, r *Rig) []string {
	t.Helper()
	return slices.DeleteFunc(allPIDs(t, r), func(task string) bool { return !strings.HasPrefix(task, "default.web-") })
}

// awaitCalls waits until web was called so often in all. None of the calls may be
// lost.
func awaitCalls(t *testing.T, r *Rig, least int) (calls int) {
	t.Helper()
	await(t, r, fmt.Sprintf("%d calls", least), patience, func(ctx context.Context) error {
		calls = 0
		for _, h := range r.Hosts {
			var went struct {
				Calls, Lost int
				Why         []string
			}
			if err := getJSON(ctx, r, "http://"+net.JoinHostPort(h.Address, "18200")+"/", &went); err != nil {
				return err
			}
			if went.Lost > 0 {
				t.Fatalf("on %s %d of %d calls were lost: %v", h.Name, went.Lost, went.Calls, went.Why)
			}
			calls += went.Calls
		}
		if calls < least {
			return fmt.Errorf("there were %d", calls)
		}
		return nil
	})
	return calls
}

func getJSON(ctx context.Context, r *Rig, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := r.PlainHTTP().Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was read
	return json.NewDecoder(response.Body).Decode(into)
}
