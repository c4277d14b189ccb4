package api

import (
	"context"
	"strings"
	"sync"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// overtaken is a log in which something else comes before the next entry.
type overtaken struct {
	stamped
	once *sync.Once
	by   func()
}

func (o overtaken) Propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error) {
	o.once.Do(o.by)
	return o.stamped.Propose(ctx, entry)
}

// Somebody is judged by a workload as it was; before the entry is in the log it
// becomes another one.
func TestWhatIsJudgedIsWhatIsChanged(t *testing.T) {
	const mounts = `"image":"site.local/web:1","mounts":[{"target":"/host","hostPath":"/var/lib/skerry"}]`
	reaching := func(body string) string { return strings.Replace(body, `"image":"site.local/web:1"`, mounts, 1) }
	scheduled := workload("web", `,"runToCompletion":{},"schedule":{"cron":"0 3 * * *"}`)
	scheduled = strings.Replace(scheduled, `"replicas":1,`, "", 1)
	for _, test := range []struct {
		name, was, method, body, becomes, code string
	}{
		{"a run starts of what reaches nodes now", scheduled, "RunService/StartRun", `{"name":"web"}`, reaching(scheduled), "permission_denied"},
		{"a run starts of what is another image now", scheduled, "RunService/StartRun", `{"name":"web"}`, strings.Replace(scheduled, "web:1", "web:2", 1), ""},
		{"an update is paused of what reaches nodes now", workload("web", ""), steer, `{"name":"web","action":"STEER_ACTION_PAUSE"}`, reaching(workload("web", "")), "permission_denied"},
		{"an update is paused of what is another image now", workload("web", ""), steer, `{"name":"web","action":"STEER_ACTION_PAUSE"}`, strings.Replace(workload("web", ""), "web:1", "web:2", 1), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newAPISite(t)
			mia, kim := operator("mia"), s.joins("kim", &skerryv1.Grant{Role: "operator"})
			if got := s.call(&mia, apply, resourcesOf(test.was)); got.code() != "" {
				t.Fatalf("it is not taken: %v", got.body)
			}
			s.server.Log = overtaken{stamped{s}, &sync.Once{}, func() {
				s.server.Log = stamped{s}
				if got := s.call(&mia, apply, resourcesOf(test.becomes)); got.code() != "" {
					t.Errorf("what comes between is not taken: %v", got.body)
				}
			}}
			if got := s.call(&kim, test.method, test.body); got.code() != test.code {
				t.Errorf("it gave %v, want %q", got.body, test.code)
			}
		})
	}
}
