package access

import (
	"embed"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"

	cedar "github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	cedarast "github.com/cedar-policy/cedar-go/x/exp/ast"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

//go:embed roles/*.cedar
var shipped embed.FS

// Roles that an operator can have, each with a file of policies.
var Roles = []string{admin, "operator", "viewer", "auditor"}

// admin covers all other roles.
const admin = "admin"

// Judge decides by the records of one revision. It never changes, and any
// number of goroutines may ask it.
type Judge struct {
	revision  uint64
	operators map[string]*roles
	policies  []policy
	// byVerb are the policies that can apply to a verb, other for verbs that no
	// policy names.
	byVerb map[string]selection
	other  selection
	// broken is the name of a policy that this version cannot read. It may forbid
	// something, so nothing is permitted by policies then.
	broken string
	// unknown: there are no records at all.
	unknown bool
}

// policy is one statement, with where it comes from: `role viewer`,
// `policy shop-deployers`.
type policy struct {
	source string
	*cedar.Policy
}

// selection of policies, as cedar takes them.
type selection []policy

// All implements cedar.PolicyIterator. The ID of a policy is its place.
func (s selection) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range s {
			if !yield(cedar.PolicyID(p.source), p.Policy) {
				return
			}
		}
	}
}

// roles of one operator: those of the site, and in a project these and its own.
type roles struct {
	site      cedar.Entity
	inProject map[string]cedar.Entity
	names     map[string][]string
}

var shippedPolicies = sync.OnceValue(func() []policy {
	var all []policy
	for _, name := range append([]string{"everyone"}, Roles...) {
		text, err := shipped.ReadFile(path.Join("roles", name+".cedar"))
		if err != nil {
			panic("access: " + err.Error()) // it is embedded
		}
		source := "role " + name
		if name == "everyone" {
			source = "what everyone may"
		}
		parsed, err := parsePolicies(source, string(text))
		if err != nil {
			panic("access: " + err.Error()) // a test reads them all
		}
		all = append(all, parsed...)
	}
	return all
})

func parsePolicies(source, text string) ([]policy, error) {
	list, err := cedar.NewPolicyListFromBytes(source, []byte(text))
	if err != nil {
		return nil, err
	}
	parsed := make([]policy, 0, len(list))
	for _, p := range list {
		parsed = append(parsed, policy{source, p})
	}
	return parsed, nil
}

// Compile makes a judge of the records.
//
// Without records, as on a node that never had orders, every operator counts as
// one without a role.
func Compile(records *sitev1.AccessRecords) *Judge {
	j := &Judge{revision: records.GetRevision(), operators: map[string]*roles{}, unknown: records == nil}
	for _, operator := range records.GetOperators() {
		j.operators[operator.GetName()] = rolesOf(operator)
	}
	j.policies = append(j.policies, shippedPolicies()...)
	for _, given := range records.GetPolicies() {
		parsed, err := readPolicy(given)
		if err != nil {
			j.broken = given.GetName()
			continue
		}
		j.policies = append(j.policies, parsed...)
	}
	j.byVerb = map[string]selection{}
	for verb := range Verbs() {
		j.byVerb[verb] = j.forVerb(verb)
	}
	j.other = j.forVerb("")
	return j
}

func readPolicy(given *skerryv1.AccessPolicy) ([]policy, error) {
	return parsePolicies("policy "+given.GetName(), given.GetPolicy())
}

// Revision of the records.
func (j *Judge) Revision() uint64 { return j.revision }

// forVerb leaves out policies that name other verbs.
func (j *Judge) forVerb(verb string) selection {
	var selected selection
	for _, p := range j.policies {
		if mayApply((*cedarast.Policy)(p.AST()).Action, actionID(verb)) {
			selected = append(selected, p)
		}
	}
	return selected
}

func mayApply(scope cedarast.IsActionScopeNode, action cedar.EntityUID) bool {
	switch s := scope.(type) {
	case cedarast.ScopeTypeEq:
		return s.Entity == action
	case cedarast.ScopeTypeInSet:
		for _, entity := range s.Entities {
			if entity == action {
				return true
			}
		}
		return false
	default: // all, or in a group: cedar looks
		return true
	}
}

func actionID(verb string) cedar.EntityUID {
	return cedar.NewEntityUID("Action", cedar.String(verb))
}

func rolesOf(operator *sitev1.OperatorRecord) *roles {
	r := &roles{inProject: map[string]cedar.Entity{}, names: map[string][]string{}}
	for _, grant := range operator.GetGrants() {
		r.names[grant.GetProject()] = append(r.names[grant.GetProject()], grant.GetRole())
	}
	r.site = operatorEntity(operator.GetName(), r.names[""])
	for project, names := range r.names {
		if project != "" {
			r.inProject[project] = operatorEntity(operator.GetName(), append(append([]string{}, r.names[""]...), names...))
		}
	}
	return r
}

func operatorEntity(name string, roles []string) cedar.Entity {
	entity := Object{Kind: KindOperator, Name: name}.entity()
	parents := make([]cedar.EntityUID, 0, len(roles))
	for _, role := range roles {
		parents = append(parents, cedar.NewEntityUID("Role", cedar.String(role)))
	}
	entity.Parents = cedar.NewEntityUIDSet(parents...)
	return entity
}

// in the scope: the operator with the roles that count there.
func (r *roles) in(scope string) cedar.Entity {
	if entity, has := r.inProject[scope]; has && scope != "" {
		return entity
	}
	return r.site
}

// has tells whether the role is held in a project, there or in the whole site. No
// project stands for the whole site.
func (r *roles) has(role, project string) bool {
	return slices.Contains(r.names[""], role) || slices.Contains(r.names[project], role)
}

// Covers tells whether an operator has a role itself, or is admin, where the grant
// says: there or in the whole site.
func (j *Judge) Covers(who Principal, grant *skerryv1.Grant) bool {
	if who.Caller != skerryv1.Caller_CALLER_OPERATOR {
		return false
	}
	held := j.operators[who.Name]
	return held != nil && (held.has(grant.GetRole(), grant.GetProject()) || held.has(admin, grant.GetProject()))
}

// words of roles in force, for people: `viewer, operator in project shop`.
func (r *roles) words() string {
	var all []string
	for _, project := range sortedKeys(r.names) {
		for _, name := range r.names[project] {
			if project != "" {
				name = fmt.Sprintf("%s in project %s", name, project)
			}
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return "no role"
	}
	if len(all) == 1 {
		return "the role " + all[0]
	}
	return "the roles " + strings.Join(all, ", ")
}

func fromTree(tree *cedarast.Policy) *cedar.Policy {
	return cedar.NewPolicyFromAST((*publicast.Policy)(tree))
}
