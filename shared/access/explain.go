package access

import (
	"fmt"
	"slices"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/x/exp/ast"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxMissing ways to permit something are told.
const maxMissing = 8

// Explanation of a verdict, for people.
type Explanation struct {
	Verdict
	// Summary in one sentence.
	Summary string
	// Reasons are what decided.
	Reasons []string
	// Missing is what would permit it, when it is refused.
	Missing []string
	// Principal and Object are what policies saw of them.
	Principal, Object []string
}

// Explain decides, and says why.
func (j *Judge) Explain(who Principal, verb string, object Object) Explanation {
	e := Explanation{Verdict: j.Decide(who, verb, object)}
	may := "may not"
	if e.Allowed {
		may = "may"
	}
	e.Summary = fmt.Sprintf("%s %s %s %s", who, may, verb, object)
	for _, reason := range e.By {
		e.Reasons = append(e.Reasons, reason.String()+map[bool]string{true: " permits it", false: " forbids it"}[e.Allowed])
	}
	e.Principal, e.Object = j.describe(who), describeObject(object)
	if e.Allowed {
		return e
	}
	if len(e.By) == 0 {
		e.Reasons = []string{"no role and no policy permits it"}
		e.Missing = j.missing(who, verb, object)
	} else {
		e.Missing = []string{"nothing can permit what a policy forbids: change that policy"}
	}
	return e
}

func (j *Judge) describe(who Principal) []string {
	lines := []string{"name: " + who.Name}
	switch who.Caller {
	case skerryv1.Caller_CALLER_OPERATOR:
		held, known := j.operators[who.Name]
		if !known {
			return append(lines, "the site has no record of this operator")
		}
		return append(lines, "roles: "+held.words())
	case skerryv1.Caller_CALLER_WORKLOAD:
		return append(lines, "project: "+who.Project)
	default:
		return append(lines, "policies do not judge it: nodes read and write what is bound to them and nothing else")
	}
}

func describeObject(o Object) []string {
	lines := []string{"kind: " + o.Kind, "name: " + o.Name}
	if o.Project != "" {
		lines = append(lines, "project: "+o.Project)
	}
	for _, label := range sortedKeys(o.Labels) {
		lines = append(lines, fmt.Sprintf("%s%s: %s", labelLine, label, o.Labels[label]))
	}
	return lines
}

const labelLine = "label "

// Unlabelled leaves out of what an explanation says of an object what only
// those may know who may read it.
func Unlabelled(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasPrefix(line, labelLine) })
}

// missing are the roles that would permit it, and the policies that would if
// their conditions were met.
func (j *Judge) missing(who Principal, verb string, object Object) []string {
	scope := object.scope(verb)
	principal, known := j.principal(who, scope)
	if !known {
		return nil
	}
	var ways []string
	if who.Caller == skerryv1.Caller_CALLER_OPERATOR {
		ways = j.rolesThatPermit(who, verb, object)
	}
	for _, p := range j.policies {
		if p.Effect() == cedar.Permit && strings.HasPrefix(p.source, "policy ") && len(ways) < maxMissing {
			if unmet := p.unmet(principal, verb, object.entity()); len(unmet) > 0 {
				ways = append(ways, fmt.Sprintf("%s would permit it, but this does not hold: %s",
					Reason{Source: p.source, Line: p.Position().Line}, strings.Join(unmet, "; ")))
			}
		}
	}
	if len(ways) == 0 {
		ways = []string{"an access policy that permits it"}
	}
	return ways
}

// rolesThatPermit it, the weakest first.
func (j *Judge) rolesThatPermit(who Principal, verb string, object Object) []string {
	var ways []string
	scope := object.scope(verb)
	for _, role := range []string{"viewer", "auditor", "operator", "admin"} {
		if !j.ask(operatorEntity(who.Name, []string{role}), verb, object).Allowed {
			continue
		}
		command := fmt.Sprintf("skerry operator grant %s %s", who.Name, role)
		where := "of the site"
		if scope != "" {
			command += " -p " + scope
			where = "in project " + scope
		}
		ways = append(ways, fmt.Sprintf("the role %s %s would permit it: %s", role, where, command))
	}
	return ways
}

// unmet conditions of a policy whose scope is met; none when it is not, or when
// all hold.
func (p policy) unmet(principal cedar.Entity, verb string, resource cedar.Entity) []string {
	tree := (*cedarast.Policy)(p.AST())
	if !holds(tree, nil, principal, verb, resource) {
		return nil
	}
	var unmet []string
	for _, condition := range tree.Conditions {
		parts := []cedarast.IsNode{condition.Body}
		if condition.Condition == cedarast.ConditionWhen {
			parts = conjuncts(condition.Body)
		}
		for _, part := range parts {
			one := cedarast.ConditionType{Condition: condition.Condition, Body: part}
			if !holds(tree, []cedarast.ConditionType{one}, principal, verb, resource) {
				unmet = append(unmet, written(one))
			}
		}
	}
	return slices.Compact(unmet)
}

// conjuncts of a && b && c.
func conjuncts(node cedarast.IsNode) []cedarast.IsNode {
	and, ok := node.(cedarast.NodeTypeAnd)
	if !ok {
		return []cedarast.IsNode{node}
	}
	return append(conjuncts(and.Left), conjuncts(and.Right)...)
}

// holds tells whether the policy with these conditions alone applies.
func holds(tree *cedarast.Policy, conditions []cedarast.ConditionType, principal cedar.Entity, verb string, resource cedar.Entity) bool {
	only := *tree
	only.Conditions = conditions
	decision, _ := cedar.Authorize(selection{{"", fromTree(&only)}}, &entities{principal: principal, uid: resource.UID, resource: resource, looked: true}, cedar.Request{
		Principal: principal.UID, Action: actionID(verb), Resource: resource.UID,
	})
	return decision == cedar.Allow
}

// written is a condition as its author wrote it.
func written(condition cedarast.ConditionType) string {
	bare := cedarast.Permit()
	bare.Conditions = []cedarast.ConditionType{condition}
	text := string(fromTree(bare).MarshalCedar())
	at := strings.Index(text, "resource )")
	if at < 0 {
		return strings.Join(strings.Fields(text), " ")
	}
	return strings.TrimSuffix(strings.Join(strings.Fields(text[at+len("resource )"):]), " "), ";")
}
