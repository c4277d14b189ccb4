package access

import (
	"maps"
	"slices"

	cedar "github.com/cedar-policy/cedar-go"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Verdict on one request.
type Verdict struct {
	Allowed bool
	// By are the policies that decided: those that permit, or those that forbid.
	// None when nothing permits.
	By []Reason
}

// Reason is one policy that counted.
type Reason struct {
	// Source is `role viewer`, `policy shop-deployers`, or a sentence for what is
	// decided without policies.
	Source string
	// Line in the source; 0 for what is no policy.
	Line int
	// Error of a policy that could not be evaluated: one that forbids counts.
	Error string
}

// entities are the two that a request is about. What policies see of the object
// is put together when one of them looks: most only look at who asks.
type entities struct {
	principal cedar.Entity
	uid       cedar.EntityUID // of the object
	object    Object
	resource  cedar.Entity
	looked    bool
}

// Get implements cedar.EntityGetter.
func (e *entities) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid {
	case e.principal.UID:
		return e.principal, true
	case e.uid:
		if !e.looked {
			e.resource, e.looked = e.object.entity(), true
		}
		return e.resource, true
	default:
		return cedar.Entity{}, false
	}
}

// Decide whether an operator or a workload may. Nodes are never judged by
// policies: for them it is always no.
func (j *Judge) Decide(who Principal, verb string, object Object) Verdict {
	principal, known := j.principal(who, object.scope(verb))
	if !known {
		return Verdict{}
	}
	if by := j.always(who, verb, object); by != "" {
		return Verdict{Allowed: true, By: []Reason{{Source: by}}}
	}
	if j.broken != "" {
		return Verdict{By: []Reason{{Source: "policy " + j.broken, Error: "this version cannot read it, and it may forbid this"}}}
	}
	return j.ask(principal, verb, object)
}

func (j *Judge) ask(principal cedar.Entity, verb string, object Object) Verdict {
	selected, known := j.byVerb[verb]
	if !known {
		selected = j.other
	}
	about := &entities{principal: principal, uid: object.id(), object: object}
	if principal.UID == about.uid {
		about.principal.Tags = object.entity().Tags // one and the same, with its roles and its labels
	}
	decision, diagnostic := cedar.Authorize(selected, about, cedar.Request{
		Principal: principal.UID, Action: actionID(verb), Resource: about.uid,
	})
	if forbidden := failedForbids(selected, diagnostic.Errors); len(forbidden) > 0 {
		return Verdict{By: forbidden}
	}
	verdict := Verdict{Allowed: decision == cedar.Allow, By: make([]Reason, 0, len(diagnostic.Reasons))}
	for _, reason := range diagnostic.Reasons {
		verdict.By = append(verdict.By, Reason{Source: string(reason.PolicyID), Line: reason.Position.Line})
	}
	return verdict
}

// failedForbids are policies that forbid something and could not be evaluated.
// Cedar leaves them out; here they count, because what they would have
// forbidden is not known.
func failedForbids(selected selection, errors []cedar.DiagnosticError) []Reason {
	var failed []Reason
	for _, e := range errors {
		for _, p := range selected {
			if p.Effect() == cedar.Forbid && cedar.PolicyID(p.source) == e.PolicyID && p.Position() == e.Position {
				failed = append(failed, Reason{Source: p.source, Line: e.Position.Line, Error: e.Message})
			}
		}
	}
	return failed
}

// always is what no policy can take away, so that nobody locks out those who
// could undo it (SAFETY, rule 17). Empty when it is not such a case.
func (j *Judge) always(who Principal, verb string, object Object) string {
	if who.Caller != skerryv1.Caller_CALLER_OPERATOR {
		return ""
	}
	held := j.operators[who.Name]
	if held == nil {
		return ""
	}
	switch {
	case verb == Locate && object.Kind == KindSite:
		return "every operator of the site, whom no policy keeps from asking who coordinates"
	case object.Kind == KindPolicy && held.has(admin, ""):
		return "role admin, which no policy keeps from policies"
	case object.Kind == KindAudit && verb == Read && held.has("auditor", ""):
		return "role auditor, which no policy keeps from the audit log"
	default:
		return ""
	}
}

// principal as policies see it, with the roles that count in the scope. False
// for those who are not judged by policies, or not known.
func (j *Judge) principal(who Principal, scope string) (cedar.Entity, bool) {
	switch who.Caller {
	case skerryv1.Caller_CALLER_OPERATOR:
		held, known := j.operators[who.Name]
		switch {
		case known:
			return held.in(scope), true
		case j.unknown:
			return operatorEntity(who.Name, nil), true
		default:
			return cedar.Entity{}, false
		}
	case skerryv1.Caller_CALLER_WORKLOAD:
		return Object{Kind: "Workload", Project: who.Project, Name: who.Name}.entity(), true
	default:
		return cedar.Entity{}, false
	}
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
