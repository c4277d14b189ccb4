package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"skerry.dev/shared/access"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	accessPolicies  = 100
	accessDecisions = 200_000
)

// accessDecision measures how long one decision takes with 100 policies, half
// of them about the verb that is asked for.
func accessDecision(_ context.Context, _, _ string) (result, error) {
	judge := access.Compile(accessRecords())
	random := rand.New(rand.NewPCG(1, 2))
	took := make([]float64, 0, accessDecisions)
	allowed := 0
	for range accessDecisions {
		n := random.IntN(2 * accessPolicies)
		who := access.Principal{Caller: skerryv1.Caller_CALLER_OPERATOR, Name: fmt.Sprint("o", n%accessPolicies)}
		object := access.Object{Kind: "Workload", Project: fmt.Sprint("p", n), Name: "web", Labels: map[string]string{"tier": "front"}}
		begun := time.Now()
		verdict := judge.Decide(who, access.Apply, object)
		took = append(took, float64(time.Since(begun).Nanoseconds())/1000)
		if verdict.Allowed {
			allowed++
		}
	}
	if allowed == 0 || allowed == accessDecisions {
		return nil, errors.New("the decisions are all the same: the policies are not asked")
	}
	slices.Sort(took)
	measured := summary(took, "us")
	measured["p99"], measured["policies"], measured["allowed"] = percentile(took, 0.99), accessPolicies, allowed
	return measured, nil
}

func accessRecords() *sitev1.AccessRecords {
	records := &sitev1.AccessRecords{Revision: 1}
	for n := range accessPolicies {
		verb := map[bool]string{true: "apply", false: "logs"}[n%2 == 0]
		records.Operators = append(records.Operators, &sitev1.OperatorRecord{Name: fmt.Sprint("o", n)})
		records.Policies = append(records.Policies, &skerryv1.AccessPolicy{Name: fmt.Sprint("policy-", n), Policy: fmt.Sprintf(
			`permit (principal == Operator::"o%d", action in [Action::"read", Action::%q], resource)
when { resource.project == "p%d" && resource.hasTag("tier") && resource.getTag("tier") == "front" };`, n, verb, n)})
	}
	return records
}
