package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"skerry.dev/certs"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"

	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	explain      = "ResourceService/Explain"
	checkAccess  = "AccessService/CheckAccess"
	changeGrants = "AccessService/ChangeGrants"
)

// joins adds an operator with these roles.
func (s *apiSite) joins(name string, grants ...*skerryv1.Grant) certs.Peer {
	s.t.Helper()
	secret := key("token of " + name)
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-" + name, Role: "operator", Name: name, Expires: timestamppb.New(s.store.View().Time().AsTime().AddDate(1, 0, 0))},
		SecretHash: secret, Grants: grants,
	}}})
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{SecretHash: secret, KeyFingerprint: key(name)}}})
	return operator(name)
}

func (s *apiSite) put(objects ...manifest.Object) {
	s.t.Helper()
	change := &sitev1.ApplyResources{}
	for _, object := range objects {
		resource := manifest.Wrap(object)
		manifest.Fill(resource)
		change.Resources = append(change.Resources, resource)
	}
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: change}})
}

// twoProjects has a workload in each.
func (s *apiSite) twoProjects() {
	s.t.Helper()
	container := &skerryv1.Container{Image: "site.local/web:1"}
	s.put(&skerryv1.Project{Name: "shop"},
		&skerryv1.Workload{Name: "till", Project: "shop", Container: container, Labels: map[string]string{"tier": "front"}},
		&skerryv1.Workload{Name: "web", Container: container})
}

func inShop(name string, more string) string {
	return workload(name, `,"project":"shop"`+more)
}

func policyBody(name, text string) string {
	quoted, _ := json.Marshal(text) // text always can be quoted
	return resourcesOf(fmt.Sprintf(`{"accessPolicy":{"kind":"AccessPolicy","name":%q,"policy":%s}}`, name, quoted))
}

func TestWhatOperatorsMayDo(t *testing.T) {
	s := newAPISite(t)
	s.twoProjects()
	mia := operator("mia") // made the site
	vic := s.joins("vic", &skerryv1.Grant{Role: "viewer", Project: "shop"})
	ole := s.joins("ole", &skerryv1.Grant{Role: "operator"})
	nil0 := s.joins("nobody")
	till := peer(certs.RoleWorkload, "shop/till")
	gone := peer(certs.RoleWorkload, "shop/gone")
	for _, test := range []struct {
		name         string
		from         certs.Peer
		method, body string
		code         string // empty: it may
	}{
		{"a viewer reads in the project", vic, get, `{"kind":"Workload","name":"till","project":"shop"}`, ""},
		{"a viewer reads elsewhere", vic, get, `{"kind":"Workload","name":"web"}`, "permission_denied"},
		{"a viewer is not told what there is not", vic, get, `{"kind":"Workload","name":"none"}`, "permission_denied"},
		{"an admin is", mia, get, `{"kind":"Workload","name":"none"}`, "not_found"},
		{"a viewer has it explained", vic, explain, `{"name":"till","project":"shop"}`, ""},
		{"a viewer has another explained", vic, explain, `{"name":"web"}`, "permission_denied"},
		{"a viewer applies", vic, apply, resourcesOf(inShop("till", "")), "permission_denied"},
		{"a viewer tries an apply", vic, apply, `{"dryRun":true,"resources":[` + inShop("till", "") + `]}`, "permission_denied"},
		{"a viewer deletes", vic, remove, `{"kind":"Workload","name":"till","project":"shop"}`, "permission_denied"},
		{"a viewer makes a token", vic, createToken, `{"role":"node"}`, "permission_denied"},
		{"a viewer lists tokens", vic, "SiteService/ListTokens", `{}`, "permission_denied"},
		{"a viewer lists operators", vic, "IdentityService/ListOperators", `{}`, "permission_denied"},
		{"a viewer gives itself a role", vic, changeGrants, `{"operator":"vic","add":[{"role":"admin"}]}`, "permission_denied"},
		{"an operator applies", ole, apply, resourcesOf(inShop("till", `,"stopGrace":"5s"`)), ""},
		{"an operator applies one of many that it may not", ole, apply, resourcesOf(inShop("x", ""), `{"project":{"kind":"Project","name":"mine"}}`), "permission_denied"},
		{"an operator makes an operator", ole, createToken, `{"role":"operator","name":"kim"}`, "permission_denied"},
		{"an operator writes a policy", ole, apply, policyBody("all", "permit (principal, action, resource);"), "permission_denied"},
		{"an operator evicts", ole, "IdentityService/EvictNode", `{"node":"n3"}`, "permission_denied"},
		{"no role, a workload", nil0, get, `{"kind":"Workload","name":"web"}`, "permission_denied"},
		{"no role, the site", nil0, status, `{}`, ""},
		{"a workload, the site", till, status, `{}`, "permission_denied"},
		{"a workload, whom to ask", till, "SiteService/Locate", `{}`, ""},
		{"a workload that there is not", gone, "SiteService/Locate", `{}`, "permission_denied"},
		{"an admin makes an admin", mia, createToken, `{"role":"operator","name":"kim","grants":[{"role":"admin"}]}`, ""},
		{"an admin gives a role that there is not", mia, changeGrants, `{"operator":"ole","add":[{"role":"king"}]}`, "invalid_argument"},
		{"an admin gives a role in a project that there is not", mia, changeGrants, `{"operator":"ole","add":[{"role":"viewer","project":"none"}]}`, "not_found"},
		{"an admin gives up the last admin", mia, changeGrants, `{"operator":"mia","remove":[{"role":"admin"}]}`, "failed_precondition"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := s.contents()
			got := s.call(&test.from, test.method, test.body)
			if got.code() != test.code {
				t.Errorf("it gave %d %v", got.status, got.body)
			}
			if got.code() == "permission_denied" && before != s.contents() {
				t.Errorf("the refusal changed something: %s", got.message())
			}
		})
	}
}

func TestAnswersHoldWhatTheCallerMayRead(t *testing.T) {
	s := newAPISite(t)
	s.twoProjects()
	vic := s.joins("vic", &skerryv1.Grant{Role: "viewer", Project: "shop"})
	text := func(method, body string) string {
		encoded, err := json.Marshal(s.call(&vic, method, body).body)
		if err != nil {
			t.Fatal(err)
		}
		return string(encoded)
	}
	if got := text(listAll, `{"kind":"Workload"}`); !strings.Contains(got, `"till"`) || strings.Contains(got, `"web"`) {
		t.Errorf("workloads: %s", got)
	}
	if got := text(listAll, `{"kind":"Node"}`); strings.Contains(got, "n1:7600") {
		t.Errorf("nodes: %s", got)
	}
	if got := text(listAll, `{"kind":"Project"}`); !strings.Contains(got, `"shop"`) || strings.Contains(got, `"default"`) {
		t.Errorf("projects: %s", got)
	}
	if got := s.call(&vic, status, `{}`).body; got["nodes"] != nil || got["workloads"] != float64(1) {
		t.Errorf("the status is %v", got)
	}
	events := selectEvents(s.callOf("vic"), s.store.View(), &skerryv1.EventsRequest{}, 0, 100)
	for _, event := range events {
		if event.GetProject() != "shop" && event.GetName() != "shop" && event.GetKind() != "Site" {
			t.Errorf("an event about %s/%s is shown", event.GetKind(), event.GetName())
		}
	}
	if len(events) == 0 {
		t.Error("no event is shown")
	}
}

// callOf is a call of an operator, past the guard.
func (s *apiSite) callOf(name string) *guard.Call {
	ctx := withCaller(context.Background(), "spiffe://reef/operator/"+name, "")
	return s.server.guard().Begin(ctx, "/skerry.v1.SiteService/Events")
}

func TestAPolicyCountsFromTheNextCallOn(t *testing.T) {
	s := newAPISite(t)
	s.twoProjects()
	mia, kim := operator("mia"), s.joins("kim")
	front := `permit (principal == Operator::"kim", action in [Action::"apply", Action::"read"], resource is Workload)
when { resource.project == "shop" && resource.hasTag("tier") && resource.getTag("tier") == "front" };`
	till := resourcesOf(inShop("till", `,"labels":{"tier":"front"},"stopGrace":"3s"`))
	if got := s.call(&kim, apply, till); got.code() != "permission_denied" || !strings.Contains(got.message(), "operator kim may not apply Workload/till in project shop") {
		t.Errorf("without a policy: %v", got.body)
	}
	if got := s.call(&mia, apply, policyBody("front", front)); got.code() != "" {
		t.Fatalf("the policy: %v", got.body)
	}
	if got := s.call(&kim, apply, till); got.code() != "" {
		t.Errorf("with the policy: %v", got.body)
	}
	// A label alone does not make a workload of somebody else one's own.
	s.put(&skerryv1.Workload{Name: "db", Project: "shop", Container: &skerryv1.Container{Image: "site.local/web:1"}})
	if got := s.call(&kim, apply, resourcesOf(inShop("db", `,"labels":{"tier":"front"}`))); got.code() != "permission_denied" {
		t.Errorf("taking over db: %v", got.body)
	}
	if got := s.call(&mia, remove, `{"kind":"AccessPolicy","name":"front"}`); got.code() != "" {
		t.Fatalf("deleting the policy: %v", got.body)
	}
	if got := s.call(&kim, apply, till); got.code() != "permission_denied" {
		t.Errorf("after the policy: %v", got.body)
	}
}

func TestPoliciesAreCheckedBeforeTheyAreTaken(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	for name, test := range map[string]struct{ text, code, says string }{
		"no Cedar":                      {"let everybody in", "invalid_argument", "line 1"},
		"a verb that there is not":      {"permit (principal,\n action == Action::\"fly\", resource);", "invalid_argument", "line 2"},
		"it locks the admins out":       {"forbid (principal, action, resource);", "failed_precondition", "no admin of the site could read Site any more"},
		"it keeps admins from granting": {`forbid (principal, action == Action::"grant", resource);`, "failed_precondition", "grant Operator"},
		"it names the only admin":       {`forbid (principal == Operator::"mia", action == Action::"create", resource);`, "failed_precondition", "create Token"},
		"it forbids all but admins":     {`forbid (principal, action, resource) unless { principal in Role::"admin" };`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, dry := range []string{`{"dryRun":true,`, `{`} {
				got := s.call(&mia, apply, dry+strings.TrimPrefix(policyBody("p", test.text), "{"))
				if got.code() != test.code || !strings.Contains(got.message(), test.says) {
					t.Errorf("it gave %v", got.body)
				}
			}
		})
	}
}

func TestCheckingAndExplaining(t *testing.T) {
	s := newAPISite(t)
	s.twoProjects()
	mia, vic := operator("mia"), s.joins("vic", &skerryv1.Grant{Role: "viewer", Project: "shop"})
	question := `"verb":"apply","kind":"Workload","name":"till","project":"shop"}`
	if got := s.call(&vic, checkAccess, `{`+question); got.code() != "" || got.body["allowed"] == true || got.body["missing"] == nil {
		t.Errorf("about oneself: %v", got.body)
	}
	if got := s.call(&vic, checkAccess, `{"principal":"operator/mia",`+question); got.code() != "permission_denied" {
		t.Errorf("about somebody else: %v", got.body)
	}
	got := s.call(&mia, checkAccess, `{"principal":"vic","verb":"read","kind":"Workload","name":"till","project":"shop"}`)
	if got.body["allowed"] != true || !strings.Contains(fmt.Sprint(got.body["object"]), "label tier: front") {
		t.Errorf("an admin about somebody: %v", got.body)
	}
	for _, body := range []string{`{"verb":"fly","kind":"Node"}`, `{"verb":"logs","kind":"Node"}`, `{"principal":"spiffe://bay/operator/x","verb":"read","kind":"Node"}`} {
		if got := s.call(&mia, checkAccess, body); got.code() != "invalid_argument" {
			t.Errorf("%s gave %v", body, got.body)
		}
	}
}

// TestRevokingARoleBeatsChangesUnderWay lets an operator write while the role
// is taken away: whatever was committed after that is refused.
func TestRevokingARoleBeatsChangesUnderWay(t *testing.T) {
	s := newAPISite(t)
	mia, kim := operator("mia"), s.joins("kim", &skerryv1.Grant{Role: "operator"})
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := range 20 {
				s.call(&kim, apply, resourcesOf(workload(fmt.Sprintf("w%d-%d", n, i), "")))
			}
		})
	}
	if got := s.call(&mia, changeGrants, `{"operator":"kim","remove":[{"role":"operator"}]}`); got.code() != "" {
		t.Errorf("taking the role: %v", got.body)
	}
	revoked := s.store.View().AccessRevision()
	writers.Wait()
	for _, w := range s.store.View().Workloads() {
		if w.GetResourceVersion() > revoked {
			t.Errorf("%s was made at %d, the role was gone at %d", w.GetName(), w.GetResourceVersion(), revoked)
		}
	}
	if got := s.call(&kim, apply, resourcesOf(workload("late", ""))); got.code() != "permission_denied" {
		t.Errorf("after all: %v", got.body)
	}
}

func TestAChangeIsJudgedAgainWhenTheRecordsHaveChanged(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	ctx := withCaller(t.Context(), mia.ID.String(), "")
	call := s.server.guard().Begin(ctx, "/skerry.v1.ResourceService/Apply")
	if err := call.Ask(access.Apply, access.Object{Kind: "Workload", Project: "default", Name: "web"}); err != nil {
		t.Fatal(err)
	}
	s.joins("kim") // raises the revision
	w := &skerryv1.Workload{Name: "web", Container: &skerryv1.Container{Image: "site.local/web:1"}}
	manifest.Default(w)
	outcome, err := s.server.propose(guard.With(ctx, call), &sitev1.Entry{
		RequestId: "r-1", Principal: mia.ID.String(), Time: timestamppb.Now(),
		Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{Resources: []*skerryv1.Resource{manifest.Wrap(w)}}},
	})
	if err != nil || outcome.GetErrorKind() != "" || outcome.GetJudgeAgain() {
		t.Errorf("it gave %v, %v", outcome, err)
	}
}

// On a voter a mounted directory can be that of the CA: who may run workloads is
// not an admin by it.
func TestRunningWorkloadsDoesNotReachTheNodes(t *testing.T) {
	s := newAPISite(t)
	s.twoProjects()
	mia := operator("mia")
	kim := s.joins("kim", &skerryv1.Grant{Role: "operator"})
	pat := s.joins("pat", &skerryv1.Grant{Role: "admin", Project: "shop"})
	mount := inShop("till", `,"container":{"image":"site.local/web:1","mounts":[{"target":"/host","hostPath":"/var/lib/skerry"}]}`)
	mount = strings.Replace(mount, `"container":{"image":"site.local/web:1"},`, "", 1)
	power := strings.Replace(mount, `"mounts":[{"target":"/host","hostPath":"/var/lib/skerry"}]`, `"addCapabilities":["SYS_MODULE"]`, 1)
	volume := `{"volume":{"kind":"Volume","name":"feed","project":"shop","class":"hostPath","node":"n1","path":"/var/lib/skerry"}}`
	for _, test := range []struct {
		name, body, code string
		from             *certs.Peer
	}{
		{"an operator makes a volume of a directory", volume, "permission_denied", &kim},
		{"an admin makes a volume of a directory", volume, "", &mia},
		{"an operator mounts", mount, "permission_denied", &kim},
		{"an operator takes a capability", power, "permission_denied", &kim},
		{"the admin of a project mounts", mount, "permission_denied", &pat},
		{"an admin mounts", mount, "", &mia},
		{"an operator changes what is mounted", strings.Replace(mount, "web:1", "web:2", 1), "permission_denied", &kim},
		{"an operator goes without", inShop("till", ""), "", &kim},
	} {
		for _, dry := range []string{`{"dryRun":true,`, `{`} {
			got := s.call(test.from, apply, dry+strings.TrimPrefix(resourcesOf(test.body), "{"))
			if got.code() != test.code || test.code != "" && !strings.Contains(got.message(), "reach nodes") {
				t.Errorf("%s: %v, want %q", test.name, got.body, test.code)
			}
		}
	}
	if got := s.call(&mia, apply, policyBody("hosts", `permit (principal == Operator::"kim", action == Action::"reach", resource is Node);`)); got.code() != "" {
		t.Fatal(got.body)
	}
	if got := s.call(&kim, apply, resourcesOf(mount)); got.code() != "" {
		t.Errorf("with a policy: %v", got.body)
	}
}
