package secrets

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
)

// rig is a site of which each node is its own keeper; any of them may be the
// coordinator at any moment.
type rig struct {
	t     *rapid.T
	store *state.Store
	index uint64
	raft  uint64
	nodes map[string]*envelope.Recipient
	// removed nodes keep all that they could open, as thieves do.
	removed map[string]*Keeper
	values  map[string]string
}

func newRig(t *rapid.T) *rig {
	r := &rig{t: t, store: state.New(), raft: 1, nodes: map[string]*envelope.Recipient{}, removed: map[string]*Keeper{}, values: map[string]string{}}
	body, err := proto.Marshal(&sitev1.TrustBody{Site: "reef", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(body)
	r.apply(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "reef", SiteId: hex.EncodeToString(digest[:]), Trust: &sitev1.TrustVersion{Body: body}, GossipKey: make([]byte, 32),
		Operator: &sitev1.OperatorRecord{Name: "mia", KeyFingerprint: print("mia")}, Node: &skerryv1.Node{Name: "n1", KeyFingerprint: print("n1")},
	}}})
	r.tell("n1")
	return r
}

func print(of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return sum[:]
}

func (r *rig) apply(entry *sitev1.Entry) *sitev1.Outcome {
	r.index++
	entry.Time = timestamppb.Now()
	outcome := r.store.Apply(r.index, proto.CloneOf(entry))
	if outcome.GetErrorKind() != "" {
		r.t.Fatalf("%v: %v", entry, outcome)
	}
	return outcome
}

// tell gives a node a sealing key.
func (r *rig) tell(node string) {
	recipient, err := envelope.NewRecipient(env.NewSystem().Rand)
	if err != nil {
		r.t.Fatal(err)
	}
	r.nodes[node] = recipient
	r.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{
		{Node: node, Facts: &sitev1.NodeFacts{SealingKey: recipient.Public()}},
	}}}})
}

func (r *rig) join(node string) {
	r.apply(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token: &skerryv1.Token{Id: "t-" + node, Role: "node", Expires: timestamppb.New(timestamppb.Now().AsTime().Add(1e12))}, SecretHash: print("t" + node),
	}}})
	r.apply(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: print("t" + node), KeyFingerprint: print(node), Node: &skerryv1.Node{Name: node},
	}}})
	r.tell(node)
	r.raft++
	r.index++
	r.store.ApplyVoterChange(r.index, &sitev1.VoterChange{AddNode: node, AddRaftId: r.raft, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
}

func (r *rig) remove(node string) {
	thief := r.keeper(node)
	thief.CanOpen(r.store.View())
	raft := r.store.View().Node(node).GetRaftId()
	r.apply(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: node, State: skerryv1.NodeState_NODE_STATE_REMOVED}}})
	r.index++
	r.store.ApplyVoterChange(r.index, &sitev1.VoterChange{RemoveNode: node, RemoveRaftId: raft})
	r.removed[node] = thief
	delete(r.nodes, node)
}

// keeper of a node, as after a restart of its agent: it remembers nothing.
func (r *rig) keeper(node string) *Keeper {
	return New(node, r.nodes[node], env.NewSystem().Rand)
}

// step lets a node that can be the coordinator do one thing.
func (r *rig) step(node string) bool {
	entry, err := r.keeper(node).Next(r.store.View())
	if err != nil {
		if len(r.keeper(node).Able(r.store.View())) == 0 {
			r.t.Fatalf("%s cannot open the key, and knows nobody who can: %v", node, err)
		}
		return false
	}
	if entry == nil {
		return false
	}
	r.apply(entry)
	return true
}

func (r *rig) set(node, name, value string) {
	values := map[string][]byte{"v": []byte(value)}
	sealed, err := r.keeper(node).Seal(r.store.View(), "default", name, values)
	if err != nil {
		return // it cannot now
	}
	r.apply(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Secret{Secret: &skerryv1.Secret{
			Kind: "Secret", Name: name, Project: "default", Keys: []*skerryv1.SecretKeySize{{Key: "v"}},
		}}}},
		Secrets: []*sitev1.SealedSecret{sealed},
	}}})
	r.values[name] = value
}

func (r *rig) settle() {
	for range 200 {
		moved := false
		for _, node := range slices.Sorted(maps.Keys(r.nodes)) {
			moved = r.step(node) || moved
		}
		if !moved {
			return
		}
	}
	r.t.Fatal("it is never done")
}

// TestWhoMayOpenCanAndNobodyElse: whatever joins, leaves, rotates and crashes in
// between, every replica reads every secret in the end, and no removed node does.
func TestWhoMayOpenCanAndNobodyElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t)
		next := 2
		any := func() string { return rapid.SampledFrom(slices.Sorted(maps.Keys(r.nodes))).Draw(t, "node") }
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"join", "remove", "set", "rotate", "step", "step", "settle"}).Draw(t, "what") {
			case "join":
				if len(r.nodes) < 5 {
					r.join(fmt.Sprintf("n%d", next))
					next++
				}
			case "remove":
				// The site keeps a replica that can open the key: here, by having settled.
				if len(r.nodes) > 1 {
					r.settle()
					r.remove(any())
				}
			case "set":
				r.set(any(), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "secret"), rapid.StringN(0, 20, -1).Draw(t, "value"))
			case "rotate":
				if node := any(); r.keeper(node).CanOpen(r.store.View()) && len(r.store.View().SecretKeys()) < 4 {
					entry, err := r.keeper(node).NewVersion(r.store.View())
					if err != nil {
						t.Fatal(err)
					}
					r.apply(entry)
				}
			case "step":
				r.step(any())
			case "settle":
				r.settle()
			}
		}
		r.settle()
		view := r.store.View()
		if n := len(view.SecretKeys()); n != 1 {
			t.Fatalf("%d versions of the key are left", n)
		}
		for name, want := range r.values {
			record := view.Secret("default", name)
			for node := range r.nodes {
				if got, err := r.keeper(node).Values(view, record); err != nil || string(got["v"]) != want {
					t.Fatalf("%s reads %q in %s, %v, not %q", node, got["v"], name, err, want)
				}
			}
			for node, thief := range r.removed {
				if _, err := thief.Values(view, record); err == nil {
					t.Fatalf("%s was removed, and reads %s", node, name)
				}
			}
		}
	})
}
