package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestAVoterThatIsLeavingDoesNotMakeAnotherOneSpare(t *testing.T) {
	s := newSite(t, 2)
	s.index++
	s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{AddNode: "n2", AddRaftId: 2, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	s.ok(deleteEntry("Node", "n1"))
	if outcome := s.apply(deleteEntry("Node", "n2")); outcome.GetErrorKind() != "conflict" {
		t.Errorf("the last voter of the site was removed: %v", outcome)
	}
}
