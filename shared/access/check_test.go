package access

import (
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func TestShippedRolesPassTheirOwnCheck(t *testing.T) {
	for _, name := range append([]string{"everyone"}, Roles...) {
		text, err := shipped.ReadFile(path.Join("roles", name+".cedar"))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckPolicy(policyOf(name, string(text))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPoliciesAreRefusedWithLineAndAdvice(t *testing.T) {
	const shop = `principal == Operator::"kim", action == Action::"apply", resource) when { resource.project == "shop" `
	for _, test := range []struct{ name, text, says, hint string }{
		{"a good one", "permit (" + shop + "};", "", ""},
		{"a good one about labels", `permit (principal, action, resource) when { resource.hasTag("tier") && resource.getTag("tier") == "web" };`, "", ""},
		{"a good one of a workload", `permit (principal == Workload::"shop/web", action, resource) when { resource.project == "shop" };`, "", ""},
		{"nothing", "// nothing\n", "it holds no policy", "docs/access.md"},
		{"no Cedar", "allow kim to apply", "line 1 is not Cedar", "docs/access.md"},
		{"no end", "permit (" + shop + "}\n\n", "line 3 is not Cedar", "docs/access.md"},
		{"only its beginning", "permit (principal", "line 1 is not Cedar: it ends where , was expected", "docs/access.md"},
		{"a word that there is not", "permit (principal,\n action, resource) whence {};", "line 2 is not Cedar", "docs/access.md"},
		{"a verb that there is not", "\npermit (principal,\n action == Action::\"fly\", resource);", "line 3: unrecognized action", "the verbs are apply,"},
		{"a kind that there is not", "permit (principal, action,\n resource is Cow);", "line 2: unrecognized entity type `Cow`", "the kinds are AccessPolicy,"},
		{"an attribute that there is not", "permit (" + shop + "}\nwhen { resource.kind == \"Workload\" &&\n resource.colour == \"red\" };", "line 3: attribute `colour`", "kind, name and project"},
		{"a label that may be missing", `permit (principal, action, resource) when { resource.getTag("tier") == "web" };`, "line 1: unable to guarantee safety", "hasTag"},
		{"context, of which there is none", `permit (principal, action, resource) when { context.hour < 8 };`, "line 1: attribute `hour`", "kind, name and project"},
		{"a role that there is not", "permit (principal in\n Role::\"boss\", action, resource);", "line 2: there is no role \"boss\"", "admin, operator, viewer, auditor"},
		{"what is in a project", "permit (principal, action,\n resource in Project::\"shop\");", "line 2: nothing is `in` a project", "resource.project"},
		{"a role as a principal", `permit (principal == Role::"admin", action, resource);`, "line 1: unable to find an applicable action", ""},
		{"a verb on what it does not go with", `permit (principal, action == Action::"logs", resource is Node);`, "line 1: unable to find an applicable action", ""},
		{"text and a number", `permit (principal, action, resource) when { 1 + "a" == 2 };`, "line 1: unexpected type", ""},
		{"a name that is not closed", `permit (principal == Operator::"kim, action, resource);`, "is not Cedar", ""},
		{"text that is no UTF-8", "permit (principal == Operator::\"\xff\", action, resource);", "is not Cedar", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := CheckPolicy(policyOf("p", test.text))
			if test.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var p *problem.Error
			if !errors.As(err, &p) || p.Kind != problem.Invalid || p.Field != "policy" || !strings.Contains(p.Message, test.says) || p.Hint == "" || !strings.Contains(p.Hint, test.hint) {
				t.Errorf("it gave %v", err)
			}
		})
	}
}

// bombs are policies that would cost much to take. Each is refused at once.
var bombs = map[string]string{
	"huge":                strings.Repeat("permit (principal, action, resource);", 1000),
	"many":                strings.Repeat("permit (principal, action, resource);", 33),
	"brackets":            "permit (principal, action, resource) when { " + strings.Repeat("(", 8000) + "true" + strings.Repeat(")", 8000) + " };",
	"brackets, not shut":  "permit (principal, action, resource) when { " + strings.Repeat("(", 16000),
	"lists in lists":      "permit (principal, action, resource) when { " + strings.Repeat("[", 8000) + strings.Repeat("]", 8000) + " };",
	"records in records":  "permit (principal, action, resource) when { " + strings.Repeat("{a:", 4000) + "1" + strings.Repeat("}", 4000) + ".a };",
	"negations":           "permit (principal, action, resource) when { " + strings.Repeat("!", 16000) + "true };",
	"signs":               "permit (principal, action, resource) when { " + strings.Repeat("-", 16000) + "1 == 1 };",
	"conditions":          "permit (principal, action, resource) when { " + strings.Repeat("if true then true else ", 600) + "true };",
	"a long text":         "permit (principal, action, resource) when { \"" + strings.Repeat("x", 17000) + "\" == \"\" };",
	"a text without end":  "permit (principal, action, resource) when { \"" + strings.Repeat("\\\"", 8000),
	"stars in a pattern":  "permit (principal, action, resource) when { resource.name like \"" + strings.Repeat("*a", 4000) + "\" } when { 1 };",
	"conditions in a row": "permit (principal, action, resource) " + strings.Repeat("when { resource.name == \"a\" } ", 500) + "when { 1 };",
	"a long sum":          "permit (principal, action, resource) when { 1" + strings.Repeat("+1", 7000) + " };",
	"a long either-or":    "permit (principal, action, resource) when { resource.name == \"a\"" + strings.Repeat(" || resource.name == \"b\"", 600) + " || 1 };",
	"a chain of members":  "permit (principal, action, resource) when { resource" + strings.Repeat(".name", 3000) + " };",
}

func TestPolicyBombsAreRefusedAtOnce(t *testing.T) {
	tries := 5 // a machine that does much else makes single ones slow
	if testing.Short() {
		tries = 1
	}
	for name, text := range bombs {
		t.Run(name, func(t *testing.T) {
			fastest := time.Hour
			for try := 0; try < tries && fastest > time.Second; try++ {
				begun := time.Now()
				err := CheckPolicy(policyOf("bomb", text))
				fastest = min(fastest, time.Since(begun))
				if problem.KindOf(err) != problem.Invalid {
					t.Errorf("it gave %v", err)
				}
			}
			// The race detector, under which the short tests run, makes all slow.
			if fastest > time.Second && !testing.Short() {
				t.Errorf("it took %s", fastest)
			}
		})
	}
}

// FuzzPolicy gives the check any text: it answers, and what it takes can be
// compiled and asked.
func FuzzPolicy(f *testing.F) {
	for _, text := range bombs {
		f.Add(text)
	}
	f.Add("permit (principal, action, resource);")
	f.Add("forbid (principal, action, resource) when { resource.hasTag(\"a\") && resource.getTag(\"a\") like \"*b*\" };")
	f.Fuzz(func(t *testing.T, text string) {
		if CheckPolicy(policyOf("fuzz", text)) != nil {
			return
		}
		records := harbour()
		records.Policies = []*skerryv1.AccessPolicy{policyOf("fuzz", text)}
		judge := Compile(records)
		if judge.broken != "" {
			t.Fatalf("%q was taken and cannot be read", text)
		}
		who := PrincipalOf("spiffe://reef/operator/ole")
		for verb := range Verbs() {
			judge.Explain(who, verb, Object{Kind: "Workload", Project: "shop", Name: "web", Labels: map[string]string{"a": "b"}})
		}
		if !judge.Decide(PrincipalOf("spiffe://reef/operator/ada"), "delete", Object{Kind: KindPolicy, Name: "fuzz"}).Allowed {
			t.Fatalf("%q keeps an admin from policies", text)
		}
	})
}
