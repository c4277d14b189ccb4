package counts

import (
	"fmt"
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestAFloodOfRefusalsIsOneEntryOfEachPrincipal(t *testing.T) {
	r := &Counts{Node: "n1"}
	for n := range 100_000 {
		r.Count("spiffe://reef/operator/mallory", &skerryv1.AuditRefusal{
			Reason: "forbidden", Resource: fmt.Sprintf("ResourceService/Call%d", n%50), From: "10.0.0.9",
		})
	}
	r.Count("", &skerryv1.AuditRefusal{Reason: "unauthenticated", Resource: "x", Message: strings.Repeat("é", 10_000)})
	taken := r.Take()
	if len(taken) != 2 || taken[0].GetPrincipal() != "anonymous" {
		t.Fatalf("%d entries: %v", len(taken), taken)
	}
	sum := taken[1].GetMore()
	for _, one := range taken[1].GetRefusals() {
		sum += one.GetCount()
	}
	if sum != 100_000 || len(taken[1].GetRefusals()) > maxPerPrincipal {
		t.Errorf("%d refusals in %d lines", sum, len(taken[1].GetRefusals()))
	}
	if r.Take() != nil {
		t.Error("what was taken is still there")
	}
}

func TestRefusalsOfManyPrincipalsTakeBoundedMemoryAndLoseNoCount(t *testing.T) {
	r := &Counts{}
	for n := range 10_000 {
		r.Count(fmt.Sprintf("spiffe://reef/operator/o%d", n), &skerryv1.AuditRefusal{Reason: "forbidden", Resource: "x"})
	}
	taken := r.Take()
	if len(taken) > maxPrincipals+1 {
		t.Fatalf("%d principals wait", len(taken))
	}
	for _, one := range taken {
		r.Return(one)
	}
	sum := uint64(0)
	for _, one := range r.Take() {
		sum += one.GetMore()
		for _, refusal := range one.GetRefusals() {
			sum += refusal.GetCount()
		}
	}
	if sum != 10_000 {
		t.Errorf("%d of 10000 were counted", sum)
	}
}
