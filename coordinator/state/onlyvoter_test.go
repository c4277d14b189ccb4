package state

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

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

// Who joins tries again by itself when it hears that the site is not ready for it.
func TestTheNameOfAnEvictedVoterIsFreeWhenItVotesNoMore(t *testing.T) {
	s := newSite(t, 2)
	s.index++
	s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{AddNode: "n2", AddRaftId: 2, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-again", Role: "node", Expires: &timestamppb.Timestamp{Seconds: 1_000_000}},
		SecretHash: fingerprint("secret of again"),
	}}})
	again := testNode(2)
	again.KeyFingerprint = fingerprint("made anew")
	s.refused("conflict", joinEntry("again", again))
	s.ok(evict("n2", false))
	s.refused("unavailable", joinEntry("again", again))
	s.index++
	s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{RemoveNode: "n2", RemoveRaftId: 2})
	s.ok(joinEntry("again", again))
}
