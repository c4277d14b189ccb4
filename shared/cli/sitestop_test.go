package cli

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (s *fakeSite) StopSite(_ context.Context, r *connect.Request[skerryv1.StopSiteRequest]) (*connect.Response[skerryv1.StopSiteResponse], error) {
	response := &skerryv1.StopSiteResponse{Groups: s.groups, Freshness: s.freshness}
	if !r.Msg.GetDryRun() {
		s.status.Stop = &skerryv1.SiteStop{By: "spiffe://harbour/operator/mia", Since: ago(0), Deadline: timestamppb.New(now.Add(r.Msg.GetDeadline().AsDuration()))}
		response.Stop = s.status.GetStop()
	}
	return connect.NewResponse(response), s.note(r.Msg)
}

func (s *fakeSite) StartSite(_ context.Context, r *connect.Request[skerryv1.StartSiteRequest]) (*connect.Response[skerryv1.StartSiteResponse], error) {
	was := s.status.GetStop()
	s.status.Stop = nil
	return connect.NewResponse(&skerryv1.StartSiteResponse{Was: was, Freshness: s.freshness}), s.note(r.Msg)
}

// stopSite is harbour, and what happens before each look at its stop.
func stopSite(looks ...func(site *fakeSite)) *fakeSite {
	site := harbour()
	site.groups = []*skerryv1.StopGroup{{Workloads: []string{"default/web"}, Placements: 2}, {Workloads: []string{"default/db"}, Placements: 1}}
	site.look = func() {
		if len(looks) > 0 {
			looks[0](site)
			looks = looks[1:]
		}
	}
	return site
}

func without(names ...string) func(*fakeSite) {
	return func(site *fakeSite) {
		site.resources = slices.DeleteFunc(site.resources, func(r *skerryv1.Resource) bool {
			return slices.Contains(names, r.GetPlacement().GetName())
		})
	}
}

func TestAStopOfTheSiteTellsHowItGoesOn(t *testing.T) {
	site := stopSite(func(*fakeSite) {}, without("web-1", "web-2", "web-3"), func(site *fakeSite) {
		without("db-1")(site)
		site.status.Stop.Stopped = ago(0)
	})
	expect(t, site, "site stop --yes", 0, `
the site stops, in order until 2026-11-21 03:22:00Z
default/web is stopped
default/db is stopped
nothing runs any more: the machines can be switched off; when they are switched on again the site starts by itself
`, "")
	site.look = nil
	r := &run{}
	if code := r.main(t, site, "status"); code != 0 || !strings.Contains(r.out.String(), "since 2026-11-21 03:12:00Z, nothing runs; skerry site start starts it") {
		t.Errorf("status: %d\n%s", code, r.out.String())
	}
	expect(t, site, "site start", 0, "\nthe site starts; skerry status shows how far it is\n", "")
	expect(t, site, "site start", 0, "\nthe site is not stopped: there is nothing to do\n", "")
}

func TestWhatWouldStopIsShownFirst(t *testing.T) {
	const order = `
ORDER  PLACEMENTS  WORKLOADS
1      2           default/web
2      1           default/db
`
	site := stopSite()
	expect(t, site, "site stop --dry-run", 0, order, "")
	if got := site.asked().(*skerryv1.StopSiteRequest); !got.GetDryRun() {
		t.Errorf("asked %v", got)
	}
	r := &run{in: strings.NewReader("no\n")}
	if code := r.main(t, site, "site", "stop"); code == 0 || site.status.GetStop() != nil {
		t.Errorf("without a yes the code is %d, the stop %v", code, site.status.GetStop())
	}
	wantIn(t, r.out.String(), strings.TrimSpace(order))
}

func TestWhatDoesNotStopIsNamed(t *testing.T) {
	r := &run{}
	if code := r.main(t, stopSite(without("web-1", "web-2", "web-3")), "site", "stop", "--yes", "--deadline", "1s"); code == 0 {
		t.Error("it succeeded")
	}
	wantIn(t, r.err.String(), "it is not stopped yet: db-1 on node-1 did not end", "skerry site start")
}

func TestAStopThatIsTakenBackEnds(t *testing.T) {
	site := stopSite(func(site *fakeSite) { site.status.Stop = nil })
	r := &run{}
	if code := r.main(t, site, "site", "stop", "--yes", "--deadline", time.Minute.String()); code == 0 {
		t.Error("it succeeded")
	}
	wantIn(t, r.err.String(), "it was started again meanwhile")
}
