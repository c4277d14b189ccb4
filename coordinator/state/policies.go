package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	maxPolicies = 256
	// maxPolicyBytes of all policies together: every node keeps them.
	maxPolicyBytes = 256 << 10
)

var policies = table[*skerryv1.AccessPolicy]{
	name:    "accesspolicies",
	key:     func(p *skerryv1.AccessPolicy) string { return p.GetName() },
	ordinal: policiesOrdinal,
	access:  true,
}

// applyPolicy keeps a policy. Whether it is a good one was judged before, by
// the coordinator: what a library accepts differs between its versions, and the
// outcome of an entry must not.
func (x *tx) applyPolicy(given *skerryv1.AccessPolicy) (*skerryv1.AppliedResource, error) {
	about := "AccessPolicy/" + bounded(given.GetName(), maxName)
	if len(given.GetPolicy()) > manifest.MaxPolicyBytes {
		return nil, problem.New(problem.Invalid, about, "it is longer than %d bytes", manifest.MaxPolicyBytes).WithField("policy")
	}
	present := policies.get(x.rows, given.GetName())
	change, err := declare(present, given, present != nil, x.index, x.time)
	if err != nil {
		return nil, err
	}
	if present == nil && x.counts[policiesOrdinal] == maxPolicies {
		return nil, exhausted("access policies", maxPolicies)
	}
	if used := x.policyBytes() - len(present.GetPolicy()) + len(given.GetPolicy()); used > maxPolicyBytes {
		return nil, problem.New(problem.Exhausted, about, "all access policies together would have %d bytes, at most %d are taken", used, maxPolicyBytes).
			WithHint("delete some: skerry get accesspolicies")
	}
	if change.outcome != outcomeUnchanged {
		policies.put(x, change.next)
		x.inform(subject{kind: "AccessPolicy", name: given.GetName()}, "AccessPolicyChanged", "generation %d", change.next.GetGeneration())
	}
	return &skerryv1.AppliedResource{Resource: manifest.Wrap(change.next), Outcome: change.outcome}, nil
}

func (x *tx) policyBytes() int {
	sum := 0
	for _, p := range policies.list(x.rows) {
		sum += len(p.GetPolicy())
	}
	return sum
}

func (x *tx) deletePolicy(name string, version uint64) (*sitev1.Outcome, error) {
	present := policies.get(x.rows, name)
	if present == nil {
		return nil, missing("AccessPolicy", name)
	}
	if err := checkVersion("AccessPolicy/"+name, version, present.GetResourceVersion()); err != nil {
		return nil, err
	}
	policies.remove(x, name)
	x.inform(subject{kind: "AccessPolicy", name: name}, "AccessPolicyDeleted", "it does not count any more")
	return &sitev1.Outcome{}, nil
}
