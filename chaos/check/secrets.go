package check

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// Delivered tells what orders bring a node of secrets: only what its placements
// name.
func Delivered(node string, orders *sitev1.Assignments) *Violation {
	named := map[string]bool{}
	for _, p := range orders.GetPlacements() {
		for _, use := range p.GetSpec().GetContainer().GetSecrets() {
			named[p.GetProject()+"/"+use.GetSecret()] = true
		}
	}
	for _, s := range orders.GetSecrets() {
		if !named[s.GetProject()+"/"+s.GetName()] {
			return violated(SecretsStay, "%s was given %s/%s, which none of its placements names", node, s.GetProject(), s.GetName())
		}
	}
	return nil
}

// Opened tells what a node read in a secret.
func Opened(node, secret, got, want string) *Violation {
	if got != want {
		return violated(SecretsStay, "%s reads %q in %s, not %q", node, got, secret, want)
	}
	return nil
}
