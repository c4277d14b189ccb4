package access

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// modelPolicy is a policy as the model has it: plain conditions, all of which
// must hold.
type modelPolicy struct {
	forbid              bool
	operator            string // empty: anybody
	workload            string
	role                string
	verbs               []string
	kind, project, name string
	label, value        string // label empty: no condition; value "*": it is there
	unlessRole          string
	notRead             bool
}

// model decides by reading the rules in the simplest way. It shares nothing
// with the judge.
type model struct {
	grants   map[string][][2]string // of an operator: role, project
	policies []modelPolicy
}

var modelInProject = map[string]bool{"Workload": true, "Placement": true}

// rolesFor are the roles that count for a verb on an object.
func (m model) rolesFor(operator, verb string, o Object) []string {
	project := ""
	if modelInProject[o.Kind] {
		project = o.Project
	}
	if o.Kind == "Project" && verb == "read" {
		project = o.Name
	}
	var held []string
	for _, grant := range m.grants[operator] {
		if grant[1] == "" || grant[1] == project {
			held = append(held, grant[0])
		}
	}
	return held
}

func (m model) decide(who Principal, verb string, o Object) bool {
	var held []string
	if who.Caller == skerryv1.Caller_CALLER_OPERATOR {
		if _, known := m.grants[who.Name]; !known {
			return false
		}
		held = m.rolesFor(who.Name, verb, o)
		ofSite := m.rolesFor(who.Name, verb, Object{Kind: "Site"})
		if verb == "locate" && o.Kind == "Site" {
			return true
		}
		if o.Kind == "AccessPolicy" && slices.Contains(ofSite, "admin") || o.Kind == "Audit" && verb == "read" && slices.Contains(ofSite, "auditor") {
			return true
		}
	} else if who.Caller != skerryv1.Caller_CALLER_WORKLOAD {
		return false
	}
	permitted := verb == "locate" && o.Kind == "Site" || verb == "read" && o.Kind == "Site" && who.Caller == skerryv1.Caller_CALLER_OPERATOR
	for _, role := range held {
		permitted = permitted || modelRole(role, verb, o.Kind)
	}
	for _, p := range m.policies {
		if p.matches(who, held, verb, o) {
			if p.forbid {
				return false
			}
			permitted = true
		}
	}
	return permitted
}

func modelRole(role, verb, kind string) bool {
	private := kind == "AccessPolicy" || kind == "Operator" || kind == "Token" || kind == "Audit"
	switch role {
	case "admin":
		return true
	case "operator":
		return kind == "Workload" || kind == "Placement" || kind == "Image" || kind == "Secret" || (verb == "read" || verb == "foresee") && !private
	case "viewer":
		return verb == "logs" || verb == "foresee" || verb == "read" && !private
	default:
		return verb == "read"
	}
}

func (p modelPolicy) matches(who Principal, held []string, verb string, o Object) bool {
	isOperator := who.Caller == skerryv1.Caller_CALLER_OPERATOR
	label, has := o.Labels[p.label]
	switch {
	case p.operator != "" && !(isOperator && who.Name == p.operator),
		p.workload != "" && !(!isOperator && who.Project+"/"+who.Name == p.workload),
		p.role != "" && !slices.Contains(held, p.role),
		len(p.verbs) > 0 && !slices.Contains(p.verbs, verb),
		p.kind != "" && o.Kind != p.kind,
		p.project != "" && o.Project != p.project,
		p.name != "" && o.Name != p.name,
		p.label != "" && !has,
		p.label != "" && p.value != "*" && label != p.value,
		p.unlessRole != "" && slices.Contains(held, p.unlessRole),
		p.notRead && verb == "read":
		return false
	}
	return true
}

// cedar is the same policy in Cedar.
func (p modelPolicy) cedar() string {
	principal, action, resource := "principal", "action", "resource"
	switch {
	case p.operator != "":
		principal = fmt.Sprintf("principal == Operator::%q", p.operator)
	case p.workload != "":
		principal = fmt.Sprintf("principal == Workload::%q", p.workload)
	case p.role != "":
		principal = fmt.Sprintf("principal in Role::%q", p.role)
	}
	switch len(p.verbs) {
	case 0:
	case 1:
		action = fmt.Sprintf("action == Action::%q", p.verbs[0])
	default:
		action = `action in [Action::"` + strings.Join(p.verbs, `", Action::"`) + `"]`
	}
	var when []string
	if p.kind != "" {
		resource = "resource is " + p.kind
	}
	if p.project != "" {
		when = append(when, fmt.Sprintf("resource.project == %q", p.project))
	}
	if p.name != "" {
		when = append(when, fmt.Sprintf("resource.name == %q", p.name))
	}
	if p.label != "" {
		when = append(when, fmt.Sprintf("resource.hasTag(%q)", p.label))
		if p.value != "*" {
			when = append(when, fmt.Sprintf("resource.getTag(%q) == %q", p.label, p.value))
		}
	}
	text := map[bool]string{true: "forbid", false: "permit"}[p.forbid] + " (" + principal + ", " + action + ", " + resource + ")"
	if len(when) > 0 {
		text += " when { " + strings.Join(when, " && ") + " }"
	}
	if p.unlessRole != "" {
		text += fmt.Sprintf(" unless { principal in Role::%q }", p.unlessRole)
	}
	if p.notRead {
		text += ` unless { action == Action::"read" }`
	}
	return text + ";"
}

var (
	modelOperators = []string{"ada", "kim", "mia", "ole"}
	modelWorkloads = []string{"shop/web", "lab/db"}
	modelProjects  = []string{"shop", "lab", "default"}
	modelVerbs     = []string{"read", "apply", "delete", "logs", "exec", "load", "create", "grant", "locate", "foresee"}
	modelKinds     = []string{"Workload", "Placement", "Image", "Node", "Project", "AccessPolicy", "Operator", "Token", "Site"}
	modelNames     = []string{"web", "db", "shop", "lab"}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func maybe(r *rand.Rand, chance int, from []string) string {
	if r.IntN(chance) > 0 {
		return ""
	}
	return pick(r, from)
}

func randomPolicy(r *rand.Rand) modelPolicy {
	p := modelPolicy{
		forbid: r.IntN(5) == 0, kind: maybe(r, 3, []string{"Workload", "Placement"}), project: maybe(r, 2, modelProjects),
		name: maybe(r, 4, modelNames), label: maybe(r, 3, []string{"tier", "team"}), value: pick(r, []string{"*", "front", "back"}),
		unlessRole: maybe(r, 6, Roles), notRead: r.IntN(6) == 0,
	}
	switch r.IntN(4) {
	case 0:
		p.operator = pick(r, modelOperators)
	case 1:
		p.workload = pick(r, modelWorkloads)
	case 2:
		p.role = pick(r, Roles)
	}
	for range r.IntN(3) {
		if verb := pick(r, modelVerbs); !slices.Contains(p.verbs, verb) {
			p.verbs = append(p.verbs, verb)
		}
	}
	return p
}

func randomSite(r *rand.Rand) (model, *Judge) {
	m := model{grants: map[string][][2]string{}}
	records := &sitev1.AccessRecords{}
	for _, name := range modelOperators[:r.IntN(4)+1] {
		record := operatorOf(name)
		m.grants[name] = nil
		for range r.IntN(3) {
			grant := [2]string{pick(r, Roles), maybe(r, 2, modelProjects)}
			m.grants[name] = append(m.grants[name], grant)
			record.Grants = append(record.Grants, grantOf(grant[0], grant[1]))
		}
		records.Operators = append(records.Operators, record)
	}
	for n := range r.IntN(12) {
		p := randomPolicy(r)
		m.policies = append(m.policies, p)
		records.Policies = append(records.Policies, policyOf(fmt.Sprint("p", n), p.cedar()))
	}
	return m, Compile(records)
}

func randomObject(r *rand.Rand) Object {
	o := Object{Kind: pick(r, modelKinds), Name: pick(r, modelNames)}
	if o.Kind == "Operator" {
		o.Name = pick(r, modelOperators)
	}
	if modelInProject[o.Kind] {
		o.Project = pick(r, modelProjects)
	}
	if r.IntN(2) == 0 {
		o.Labels = map[string]string{pick(r, []string{"tier", "team", "other"}): pick(r, []string{"front", "back"})}
	}
	return o
}

// TestDecisionsAreThoseOfTheModel makes a million random decisions on random
// sites, and the model makes them too.
func TestDecisionsAreThoseOfTheModel(t *testing.T) {
	sites, each := 2000, 500
	if testing.Short() {
		sites = 100
	}
	const workers = 2
	for worker := range workers {
		t.Run(fmt.Sprint("half ", worker+1), func(t *testing.T) {
			t.Parallel()
			allowed := 0
			for seed := worker; seed < sites; seed += workers {
				r := rand.New(rand.NewPCG(uint64(seed), 7))
				m, judge := randomSite(r)
				for range each {
					who := PrincipalOf("spiffe://reef/" + pick(r, []string{
						"operator/" + pick(r, modelOperators), "operator/" + pick(r, modelOperators), "workload/" + pick(r, modelWorkloads), "node/n1",
					}))
					verb, object := pick(r, modelVerbs), randomObject(r)
					want := m.decide(who, verb, object)
					if want {
						allowed++
					}
					if got := judge.Decide(who, verb, object); got.Allowed != want {
						t.Fatalf("site %d: %s, %s %s %v: %t, the model says %t\nroles %v\npolicies %+v", seed, who, verb, object, object.Labels, got.Allowed, want, m.grants, m.policies)
					}
				}
			}
			if decisions := sites / workers * each; allowed < decisions/20 || allowed > decisions/2 {
				t.Errorf("%d of %d were allowed: that is no good mixture", allowed, decisions)
			}
		})
	}
}
