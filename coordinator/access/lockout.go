package access

import (
	"slices"

	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// kept is what somebody must always be able to do: see the site, and say who
// belongs to it and who may do what. With it everything else can be had back.
// Nobody is ever kept from finding the coordinator.
var kept = []struct {
	verb   string
	object access.Object
}{
	{access.Read, access.Object{Kind: access.KindSite}},
	{access.Apply, access.Object{Kind: access.KindPolicy}},
	{access.Grant, access.Object{Kind: access.KindOperator}},
	{"create", access.Object{Kind: "Token"}},
}

// CheckLockOut refuses policies with which no admin of the site could do these
// any more. given replace those of their names. Whether anybody has the role at
// all, the state looks at.
func CheckLockOut(view *state.View, given []*skerryv1.AccessPolicy) error {
	if len(given) == 0 {
		return nil
	}
	records := view.AccessRecords()
	judge := access.Compile(&sitev1.AccessRecords{Operators: records.GetOperators(), Policies: replaced(records.GetPolicies(), given)})
	var verdict access.Verdict
	var refused string
	for _, operator := range records.GetOperators() {
		if !state.IsAdmin(operator) {
			continue
		}
		refused, verdict = firstRefused(judge, access.PrincipalOf("spiffe://"+view.Site()+"/operator/"+operator.GetName()))
		if refused == "" {
			return nil
		}
	}
	if refused == "" {
		return nil // there is no admin to be locked out
	}
	p := problem.New(problem.Conflict, "AccessPolicy/"+given[0].GetName(), "with it no admin of the site could %s any more", refused).
		WithField("policy").WithHint("leave the role out of it: unless { principal in Role::\"admin\" }")
	if len(verdict.By) > 0 {
		p.Message += ": " + verdict.By[0].String() + " forbids it"
	}
	return p
}

func firstRefused(judge *access.Judge, who access.Principal) (string, access.Verdict) {
	for _, k := range kept {
		if verdict := judge.Decide(who, k.verb, k.object); !verdict.Allowed {
			return k.verb + " " + k.object.Subject(), verdict
		}
	}
	return "", access.Verdict{}
}

func replaced(present, given []*skerryv1.AccessPolicy) []*skerryv1.AccessPolicy {
	next := slices.DeleteFunc(slices.Clone(present), func(p *skerryv1.AccessPolicy) bool {
		return slices.ContainsFunc(given, func(g *skerryv1.AccessPolicy) bool { return g.GetName() == p.GetName() })
	})
	return append(next, given...)
}
