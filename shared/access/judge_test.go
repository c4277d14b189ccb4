package access

import (
	"slices"
	"strings"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func grantOf(role, project string) *skerryv1.Grant {
	return &skerryv1.Grant{Role: role, Project: project}
}

func operatorOf(name string, grants ...*skerryv1.Grant) *sitev1.OperatorRecord {
	return &sitev1.OperatorRecord{Name: name, Grants: grants}
}

func policyOf(name, text string) *skerryv1.AccessPolicy {
	return &skerryv1.AccessPolicy{Kind: "AccessPolicy", Name: name, Policy: text}
}

// harbour has one operator for each role, and some with policies.
func harbour() *sitev1.AccessRecords {
	return &sitev1.AccessRecords{
		Revision: 7,
		Operators: []*sitev1.OperatorRecord{
			operatorOf("ada", grantOf("admin", "")), operatorOf("ole", grantOf("operator", "")), operatorOf("vic", grantOf("viewer", "")),
			operatorOf("aud", grantOf("auditor", "")), operatorOf("kim", grantOf("viewer", "shop"), grantOf("operator", "lab")),
			operatorOf("pam", grantOf("admin", "shop")), operatorOf("nil"), operatorOf("out", grantOf("admin", "")),
		},
		Policies: []*skerryv1.AccessPolicy{
			policyOf("nil-front", `permit (principal == Operator::"nil", action in [Action::"apply", Action::"read"], resource is Workload)
when { resource.project == "shop" && resource.hasTag("tier") && resource.getTag("tier") == "front" };`),
			policyOf("out", `forbid (principal == Operator::"out", action, resource);`),
			policyOf("own", `permit (principal is Workload, action == Action::"read", resource) when { resource.hasTag("own") };`),
			policyOf("till", `permit (principal == Workload::"shop/till", action == Action::"read", resource) when { resource.project == "shop" };`),
			policyOf("frozen", "// Nobody changes what is frozen.\nforbid (principal, action, resource)\nwhen { resource.hasTag(\"frozen\") }\nunless { action in [Action::\"read\", Action::\"logs\"] };"),
		},
	}
}

func TestDecisions(t *testing.T) {
	judge := Compile(harbour())
	web := Object{Kind: "Workload", Project: "shop", Name: "web"}
	with := func(o Object, key, value string) Object {
		o.Labels = map[string]string{key: value}
		return o
	}
	front := with(web, "tier", "front")
	other := Object{Kind: "Workload", Project: "default", Name: "web"}
	secret := Object{Kind: "Placement", Project: "lab", Name: "web-1"}
	for _, test := range []struct {
		name, who, verb string
		object          Object
		allowed         bool
	}{
		{"an admin applies", "operator/ada", "apply", other, true},
		{"an admin makes tokens", "operator/ada", "create", Object{Kind: "Token"}, true},
		{"an admin grants", "operator/ada", "grant", Object{Kind: "Operator", Name: "kim"}, true},
		{"an admin grants itself", "operator/ada", "grant", Object{Kind: "Operator", Name: "ada"}, true},
		{"a workload by its own label", "workload/shop/self", "read", with(Object{Kind: "Workload", Project: "shop", Name: "self"}, "own", "yes"), true},
		{"an operator applies", "operator/ole", "apply", other, true},
		{"an operator makes tokens", "operator/ole", "create", Object{Kind: "Token"}, false},
		{"an operator grants", "operator/ole", "grant", Object{Kind: "Operator", Name: "ole"}, false},
		{"an operator writes policies", "operator/ole", "apply", Object{Kind: "AccessPolicy", Name: "all"}, false},
		{"an operator reads policies", "operator/ole", "read", Object{Kind: "AccessPolicy", Name: "all"}, false},
		{"an operator changes projects", "operator/ole", "apply", Object{Kind: "Project", Name: "shop"}, false},
		{"an operator reads nodes", "operator/ole", "read", Object{Kind: "Node", Name: "n1"}, true},
		{"an operator evicts nodes", "operator/ole", "evict", Object{Kind: "Node", Name: "n1"}, false},
		{"a viewer reads", "operator/vic", "read", other, true},
		{"a viewer reads logs", "operator/vic", "logs", secret, true},
		{"a viewer applies", "operator/vic", "apply", other, false},
		{"a viewer runs a command", "operator/vic", "exec", secret, false},
		{"a viewer reads who there is", "operator/vic", "read", Object{Kind: "Operator"}, false},
		{"an operator whom a policy forbids everything locates", "operator/out", "locate", Object{Kind: "Site"}, true},
		{"an operator whom a policy forbids everything reads policies as an admin", "operator/out", "read", Object{Kind: "AccessPolicy", Name: "all"}, true},
		{"an operator whom a policy forbids everything reads", "operator/out", "read", other, false},
		{"an operator without a record locates", "operator/who", "locate", Object{Kind: "Site"}, false},
		{"an auditor reads policies", "operator/aud", "read", Object{Kind: "AccessPolicy", Name: "all"}, true},
		{"an auditor reads the audit log", "operator/aud", "read", Object{Kind: "Audit"}, true},
		{"an auditor reads logs", "operator/aud", "logs", secret, false},
		{"an auditor applies", "operator/aud", "apply", other, false},
		{"a viewer of a project reads there", "operator/kim", "read", web, true},
		{"a viewer of a project reads the project", "operator/kim", "read", Object{Kind: "Project", Name: "shop"}, true},
		{"a viewer of a project reads another", "operator/kim", "read", other, false},
		{"a viewer of a project reads nodes", "operator/kim", "read", Object{Kind: "Node", Name: "n1"}, false},
		{"a viewer of one project, operator of another, applies in the first", "operator/kim", "apply", web, false},
		{"a viewer of one project, operator of another, applies in the other", "operator/kim", "apply", Object{Kind: "Workload", Project: "lab", Name: "x"}, true},
		{"an admin of a project applies there", "operator/pam", "apply", web, true},
		{"an admin of a project raises its quota", "operator/pam", "apply", Object{Kind: "Project", Name: "shop"}, false},
		{"an admin of a project grants", "operator/pam", "grant", Object{Kind: "Operator", Name: "pam"}, false},
		{"an admin of a project writes policies", "operator/pam", "apply", Object{Kind: "AccessPolicy", Name: "all"}, false},
		{"no role, how the site is", "operator/nil", "read", Object{Kind: "Site"}, true},
		{"no role, a workload", "operator/nil", "read", web, false},
		{"no role, what a policy permits", "operator/nil", "apply", front, true},
		{"no role, what a policy permits elsewhere", "operator/nil", "apply", with(other, "tier", "front"), false},
		{"no role, another verb than the policy's", "operator/nil", "delete", front, false},
		{"a workload by its policy", "workload/shop/till", "read", web, true},
		{"a workload beyond its policy", "workload/shop/till", "read", other, false},
		{"another workload", "workload/shop/web", "read", web, false},
		{"a forbidden change", "operator/ole", "apply", with(other, "frozen", ""), false},
		{"a forbidden change, by an admin", "operator/ada", "apply", with(other, "frozen", ""), false},
		{"reading what is frozen", "operator/vic", "read", with(other, "frozen", ""), true},
		{"policies, by an admin, though a policy forbids it", "operator/ada", "apply", with(Object{Kind: "AccessPolicy", Name: "frozen"}, "frozen", ""), true},
		{"somebody whom the site does not know", "operator/eve", "read", Object{Kind: "Site"}, false},
		{"a node", "node/n1", "read", Object{Kind: "Node", Name: "n1"}, false},
		{"a kind that there is not", "operator/vic", "apply", Object{Kind: "Cow"}, false},
		{"a verb that there is not", "operator/vic", "fly", other, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			who, err := ParsePrincipal("reef", test.who)
			if err != nil {
				t.Fatal(err)
			}
			got := judge.Decide(who, test.verb, test.object)
			if got.Allowed != test.allowed {
				t.Errorf("%s: %t, by %v", test.who, got.Allowed, got.By)
			}
			if explained := judge.Explain(who, test.verb, test.object); explained.Allowed != test.allowed || explained.Summary == "" {
				t.Errorf("explained: %v", explained)
			}
		})
	}
}

func TestAPolicyThatCannotBeReadForbidsEverything(t *testing.T) {
	records := harbour()
	records.Policies = append(records.Policies, policyOf("broken", "forbid (prin"))
	judge := Compile(records)
	admin := PrincipalOf("spiffe://reef/operator/ada")
	if got := judge.Decide(admin, "apply", Object{Kind: "Workload", Project: "default", Name: "web"}); got.Allowed || len(got.By) != 1 {
		t.Errorf("it gave %v", got)
	}
	if !judge.Decide(admin, "delete", Object{Kind: "AccessPolicy", Name: "broken"}).Allowed {
		t.Error("nobody can delete it")
	}
}

func TestAForbiddingPolicyThatFailsForbids(t *testing.T) {
	records := harbour()
	// It reads a label that is not there. The check of policies refuses it; an
	// older version may have taken it.
	records.Policies = []*skerryv1.AccessPolicy{policyOf("fails", `forbid (principal, action, resource) when { resource.getTag("tier") == "db" };`)}
	judge := Compile(records)
	who := PrincipalOf("spiffe://reef/operator/ole")
	got := judge.Decide(who, "apply", Object{Kind: "Workload", Project: "default", Name: "web"})
	if got.Allowed || len(got.By) != 1 || got.By[0].Error == "" || got.By[0].Source != "policy fails" {
		t.Errorf("it gave %v", got)
	}
	records.Policies[0].Policy = strings.Replace(records.Policies[0].Policy, "forbid", "permit", 1)
	if !Compile(records).Decide(who, "apply", Object{Kind: "Workload", Project: "default", Name: "web"}).Allowed {
		t.Error("a permitting policy that fails takes away what the role gives")
	}
}

func TestExplanationsSayWhatDecidedAndWhatIsMissing(t *testing.T) {
	judge := Compile(harbour())
	for _, test := range []struct {
		name, who, verb string
		object          Object
		reasons         []string
		missing         []string
	}{
		{"a role", "operator/vic", "read", Object{Kind: "Workload", Project: "shop", Name: "web"},
			[]string{"role viewer (line 2) permits it"}, nil},
		{"a policy that forbids", "operator/ole", "apply", Object{Kind: "Workload", Project: "shop", Name: "web", Labels: map[string]string{"frozen": ""}},
			[]string{"policy frozen (line 2) forbids it"}, []string{"nothing can permit"}},
		{"a role that is missing", "operator/kim", "apply", Object{Kind: "Workload", Project: "shop", Name: "web"},
			[]string{"no role and no policy permits it"},
			[]string{"the role operator in project shop would permit it: skerry operator grant kim operator -p shop", "the role admin in project shop"}},
		{"a condition that is missing", "operator/nil", "apply", Object{Kind: "Workload", Project: "shop", Name: "web", Labels: map[string]string{"tier": "back"}},
			[]string{"no role and no policy permits it"},
			[]string{"policy nil-front (line 1) would permit it, but this does not hold: when { resource.getTag(\"tier\") == \"front\" }"}},
		{"nobody whom the site knows", "operator/eve", "read", Object{Kind: "Site"}, []string{"no role and no policy permits it"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			who, err := ParsePrincipal("reef", test.who)
			if err != nil {
				t.Fatal(err)
			}
			got := judge.Explain(who, test.verb, test.object)
			if !slices.Equal(got.Reasons, test.reasons) {
				t.Errorf("the reasons are %q", got.Reasons)
			}
			for _, want := range test.missing {
				if !slices.ContainsFunc(got.Missing, func(way string) bool { return strings.HasPrefix(way, want) }) {
					t.Errorf("what is missing does not name %q: %q", want, got.Missing)
				}
			}
		})
	}
}

func TestPrincipalsAreReadStrictly(t *testing.T) {
	for text, want := range map[string]string{
		"kim": "operator kim", "operator/kim": "operator kim", "workload/shop/web": "workload shop/web", "node/n1": "node n1",
		"spiffe://reef/operator/kim": "operator kim",
		"spiffe://bay/operator/kim":  "", "": "", "operator/": "", "king/arthur": "", "workload/web": "", "operator/a/b": "", "spiffe://reef": "",
	} {
		who, err := ParsePrincipal("reef", text)
		if (err == nil) != (want != "") || (err == nil && who.String() != want) {
			t.Errorf("%q gave %v, %v", text, who, err)
		}
	}
}
