package secrets

import (
	"testing"

	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// TestEvictingAVoterTakesTheKeyFromIt: the version that it could open goes, and
// with it the wrap; what is sealed anew it cannot read, whoever coordinates.
func TestEvictingAVoterTakesTheKeyFromIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t)
		r.join("n2")
		r.join("n3")
		r.settle()
		r.set("n1", "a", "before")
		old := Present(r.store.View()).GetVersion()
		evicted := rapid.SampledFrom([]string{"n2", "n3"}).Draw(t, "evicted")
		thief := r.keeper(evicted)
		if !thief.CanOpen(r.store.View()) {
			t.Fatal("a voter cannot open the key")
		}
		raft := r.store.View().Node(evicted).GetRaftId()
		r.apply(&sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: evicted}}})
		delete(r.nodes, evicted)
		late := rapid.Bool().Draw(t, "its replica leaves the group later")
		leave := func() {
			r.index++
			r.store.ApplyVoterChange(r.index, &sitev1.VoterChange{RemoveNode: evicted, RemoveRaftId: raft})
		}
		if !late {
			leave()
		}
		r.settle()
		if late {
			leave()
			r.settle()
		}
		view := r.store.View()
		if len(view.SecretKeys()) != 1 || Present(view).GetVersion() <= old {
			t.Fatalf("versions %v, before it was %d", view.SecretKeys(), old)
		}
		for _, wrap := range Present(view).GetWraps() {
			if wrap.GetNode() == evicted {
				t.Fatal("the new version is sealed to it too")
			}
		}
		if _, err := thief.Values(view, view.Secret("default", "a")); err == nil {
			t.Fatal("it reads what is under the new version")
		}
		if got, err := r.keeper("n1").Values(view, view.Secret("default", "a")); err != nil || string(got["v"]) != "before" {
			t.Fatalf("the others read %v, %v", got, err)
		}
	})
}
