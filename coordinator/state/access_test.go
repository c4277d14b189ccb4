package state

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func policyNamed(name, text string) *skerryv1.AccessPolicy {
	return &skerryv1.AccessPolicy{Kind: "AccessPolicy", Name: name, Policy: text}
}

// operator joins with these roles.
func (s *site) operator(name string, grants ...*skerryv1.Grant) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-" + name, Role: "operator", Expires: &timestamppb.Timestamp{Seconds: 1_000_000}, Name: name},
		SecretHash: fingerprint("secret of " + name), Grants: grants,
	}}})
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: fingerprint("secret of " + name), KeyFingerprint: fingerprint(name),
	}}})
}

func grantEntry(operator string, add, remove []*skerryv1.Grant) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_ChangeGrants{ChangeGrants: &sitev1.ChangeGrants{
		Operator: operator, Add: add, Remove: remove,
	}}}
}

func TestRolesAreInTheOperatorsRecord(t *testing.T) {
	s := newSite(t, 1)
	viewer := &skerryv1.Grant{Role: "viewer", Project: "shop"}
	admin := &skerryv1.Grant{Role: "admin"}
	if got := s.store.View().Operator("admin").GetGrants(); len(got) != 1 || !proto.Equal(got[0], admin) {
		t.Errorf("the first operator has %v", got)
	}
	s.operator("kim", viewer)
	if got := s.store.View().Operator("kim").GetGrants(); len(got) != 1 || !proto.Equal(got[0], viewer) {
		t.Errorf("the joined operator has %v", got)
	}
	s.ok(grantEntry("kim", []*skerryv1.Grant{admin, viewer}, nil))
	if got := s.store.View().Operator("kim").GetGrants(); len(got) != 2 {
		t.Errorf("after the grant it has %v", got)
	}
	s.ok(grantEntry("kim", nil, []*skerryv1.Grant{viewer}))
	if got := s.store.View().Operator("kim").GetGrants(); len(got) != 1 || !proto.Equal(got[0], admin) {
		t.Errorf("after the revocation it has %v", got)
	}
	s.refused("not_found", grantEntry("kim", nil, []*skerryv1.Grant{viewer}))
	s.refused("not_found", grantEntry("eve", []*skerryv1.Grant{viewer}, nil))
	s.refused("invalid", grantEntry("kim", []*skerryv1.Grant{{Role: "king"}}, nil))
	s.refused("invalid", grantEntry("kim", []*skerryv1.Grant{{Role: "viewer", Project: "The Shop"}}, nil))
}

func TestTheLastAdminStays(t *testing.T) {
	s := newSite(t, 1)
	admin := []*skerryv1.Grant{{Role: "admin"}}
	refused := s.refused("conflict", grantEntry("admin", nil, admin))
	if !strings.Contains(refused.GetError(), "admin") || refused.GetDetail().GetHint() == "" {
		t.Errorf("it says %v", refused)
	}
	s.operator("kim", &skerryv1.Grant{Role: "admin", Project: "shop"}) // an admin of one project is none of the site
	s.refused("conflict", grantEntry("admin", nil, admin))
	s.ok(grantEntry("kim", admin, nil))
	s.ok(grantEntry("admin", nil, admin))
	// Joining again with a token of no roles would take kim's away.
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-again", Role: "operator", Expires: &timestamppb.Timestamp{Seconds: 1_000_000}, Name: "kim"},
		SecretHash: fingerprint("again"),
	}}})
	s.refused("conflict", &sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: fingerprint("again"), KeyFingerprint: fingerprint("kim's other key"),
	}}})
}

func TestAnEntryThatWasJudgedByOlderRecordsIsJudgedAgain(t *testing.T) {
	s := newSite(t, 1)
	judged := s.store.View().AccessRevision()
	if judged == 0 {
		t.Fatal("a new site has no revision")
	}
	entry := func(revision uint64) *sitev1.Entry {
		e := declareEntry(work("default", "web", 1, "100m"))
		e.RequestId, e.AccessRevision = "r-1", revision
		return e
	}
	s.ok(declareEntry(policyNamed("all", "forbid (principal, action, resource);")))
	leaves := s.store.View().Audit().Size
	outcome := s.refused("conflict", entry(judged))
	if !outcome.GetJudgeAgain() {
		t.Errorf("it gave %v", outcome)
	}
	// Nobody was refused anything: the same request follows, judged anew.
	if got := s.store.View().Audit().Size; got != leaves {
		t.Errorf("%d leaves say that it was refused", got-leaves)
	}
	now := s.store.View().AccessRevision()
	if now <= judged {
		t.Errorf("the revision went from %d to %d", judged, now)
	}
	if outcome := s.ok(entry(now)); len(outcome.GetApplied()) != 1 || outcome.GetApplied()[0].GetOutcome() != outcomeCreated {
		t.Errorf("judged again it gave %v", outcome)
	}
	if got := s.store.View().Audit().Size; got != leaves+1 {
		t.Errorf("%d leaves say that it was done", got-leaves)
	}
	s.ok(declareEntry(projectNamed("shop", nil)))
	s.operator("kim")
	if got := s.store.View().AccessRevision(); got <= now {
		t.Error("a new operator does not raise the revision")
	}
	// A request that is done stays done, whatever has changed since.
	if outcome := s.ok(entry(now)); outcome.GetApplied()[0].GetOutcome() != outcomeCreated {
		t.Errorf("repeated it gave %v", outcome)
	}
}

func TestPoliciesAreBounded(t *testing.T) {
	s := newSite(t, 1)
	long := strings.Repeat("/", manifest.MaxPolicyBytes)
	s.refused("invalid", declareEntry(policyNamed("long", long+"/")))
	for n := range maxPolicyBytes / manifest.MaxPolicyBytes {
		s.ok(declareEntry(policyNamed("p-"+string(rune('a'+n)), long)))
	}
	s.refused("exhausted", declareEntry(policyNamed("one-more", "/")))
	s.ok(removeEntry("AccessPolicy", "", "p-a"))
	s.refused("not_found", removeEntry("AccessPolicy", "", "p-a"))
	for n := 0; s.store.View().meta.counts[policiesOrdinal] < maxPolicies; n++ {
		s.ok(declareEntry(policyNamed("n-"+strings.Repeat("x", n%40)+"-"+string(rune('a'+n%26))+string(rune('a'+n/26)), "/")))
	}
	s.refused("exhausted", declareEntry(policyNamed("too-many", "/")))
}

func TestDeclaredResourcesCountTheirChanges(t *testing.T) {
	s := newSite(t, 1)
	apply := func(p *skerryv1.AccessPolicy) *skerryv1.AppliedResource {
		t.Helper()
		return s.ok(declareEntry(p)).GetApplied()[0]
	}
	first := apply(policyNamed("all", "a"))
	if got := first.GetResource().GetAccessPolicy(); first.GetOutcome() != outcomeCreated || got.GetGeneration() != 1 || got.GetCreated() == nil {
		t.Errorf("created: %v", first)
	}
	version := first.GetResource().GetAccessPolicy().GetResourceVersion()
	if again := apply(policyNamed("all", "a")); again.GetOutcome() != outcomeUnchanged {
		t.Errorf("the same: %v", again)
	}
	labelled := policyNamed("all", "a")
	labelled.Labels = map[string]string{"team": "shop"}
	if got := apply(labelled); got.GetOutcome() != outcomeConfigured || got.GetResource().GetAccessPolicy().GetGeneration() != 1 {
		t.Errorf("labels alone: %v", got)
	}
	if got := apply(policyNamed("all", "b")); got.GetResource().GetAccessPolicy().GetGeneration() != 2 {
		t.Errorf("another text: %v", got)
	}
	old := policyNamed("all", "c")
	old.ResourceVersion = version
	s.refused("conflict", declareEntry(old))
	s.restart()
	if got := s.store.View().AccessPolicy("all").GetPolicy(); got != "b" {
		t.Errorf("after a restart it says %q", got)
	}
}

func TestTryingChangesNothing(t *testing.T) {
	s := newSite(t, 1)
	before := s.objects()
	outcome, err := s.store.Try(declareEntry(projectNamed("shop", nil), work("shop", "web", 1, "100m")))
	if err != nil || len(outcome.GetApplied()) != 2 {
		t.Errorf("it gave %v, %v", outcome, err)
	}
	if _, err := s.store.Try(declareEntry(work("shop", "web", 1, "100m"))); err == nil {
		t.Error("what would be refused is not")
	}
	if string(before) != string(s.objects()) {
		t.Error("it changed something")
	}
}
