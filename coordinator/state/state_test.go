package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// site is a store under test and the log that it was given.
type site struct {
	t     testing.TB
	store *Store
	index uint64
}

// newSite has the nodes n1, which votes, to nN in zones za and zb, and the
// image site.local/web:1.
func newSite(t testing.TB, count int) *site {
	s := &site{t: t, store: New()}
	body, err := proto.Marshal(&sitev1.TrustBody{Site: "reef", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(body)
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "reef", SiteId: hex.EncodeToString(digest[:]), Trust: &sitev1.TrustVersion{Body: body},
		Operator:  &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: fingerprint("admin")},
		Node:      testNode(1),
		GossipKey: bytes.Repeat([]byte{7}, 32),
	}}})
	for n := 2; n <= count; n++ {
		s.join(testNode(n))
	}
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Name: "site.local/web:1", Digest: testDigest("web1"), Size: 10, Nodes: []string{"n1"},
	}}}})
	return s
}

func testDigest(of string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(of))) }

func fingerprint(of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return sum[:]
}

func testNode(n int) *skerryv1.Node {
	name := fmt.Sprintf("n%d", n)
	return &skerryv1.Node{
		Name: name, Id: "id-" + name, Zone: []string{"za", "zb"}[n%2], Address: name + ":7600",
		Capacity: &skerryv1.Capacity{CpuMilli: 2000, MemoryBytes: 1 << 30}, KeyFingerprint: fingerprint(name),
	}
}

// apply gives the store the next entry, stamped with its index in seconds.
func (s *site) apply(entry *sitev1.Entry) *sitev1.Outcome {
	s.index++
	entry.Time = &timestamppb.Timestamp{Seconds: int64(s.index)}
	return s.store.Apply(s.index, entry)
}

func (s *site) ok(entry *sitev1.Entry) *sitev1.Outcome {
	s.t.Helper()
	outcome := s.apply(entry)
	if outcome.GetErrorKind() != "" {
		s.t.Fatalf("%T was refused: %s: %s", entry.GetChange(), outcome.GetErrorKind(), outcome.GetError())
	}
	return outcome
}

// refused expects the entry to be refused, and the state to be as it was.
func (s *site) refused(kind string, entry *sitev1.Entry) *sitev1.Outcome {
	s.t.Helper()
	before := s.objects()
	outcome := s.apply(entry)
	if outcome.GetErrorKind() != kind || outcome.GetError() == "" {
		s.t.Errorf("%T gave %q: %q, want %q", entry.GetChange(), outcome.GetErrorKind(), outcome.GetError(), kind)
	}
	if !bytes.Equal(before, s.objects()) {
		s.t.Errorf("the refused %T changed something", entry.GetChange())
	}
	return outcome
}

// objects is the state without what every entry changes.
func (s *site) objects() []byte {
	data, err := s.store.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	snapshot := &sitev1.Snapshot{}
	if err := proto.Unmarshal(data, snapshot); err != nil {
		s.t.Fatal(err)
	}
	snapshot.Index, snapshot.Hash, snapshot.Time, snapshot.Requests, snapshot.Audit = 0, 0, nil, nil, nil
	data, err = proto.MarshalOptions{Deterministic: true}.Marshal(snapshot)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

func (s *site) token(name, role string) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-" + name, Role: role, Expires: &timestamppb.Timestamp{Seconds: 1_000_000}, Name: name},
		SecretHash: fingerprint("secret of " + name),
	}}})
}

func joinEntry(secret string, node *skerryv1.Node) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: fingerprint("secret of " + secret), KeyFingerprint: node.GetKeyFingerprint(), Node: node,
	}}}
}

func (s *site) join(node *skerryv1.Node) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-" + node.GetName(), Role: "node", Expires: &timestamppb.Timestamp{Seconds: 1_000_000}},
		SecretHash: fingerprint("secret of " + node.GetName()), Zone: node.GetZone(),
	}}})
	s.ok(joinEntry(node.GetName(), node))
}

func testWorkload(name string, replicas uint32, change ...func(*skerryv1.Workload)) *skerryv1.Workload {
	w := &skerryv1.Workload{
		Name: name, Replicas: &replicas,
		Container: &skerryv1.Container{Image: "site.local/web:1", Resources: &skerryv1.Resources{Cpu: "500m", Memory: "64Mi"}},
	}
	for _, c := range change {
		c(w)
	}
	manifest.Default(w)
	return w
}

func stays(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{Mode: "stay"} }

func applyEntry(ws ...*skerryv1.Workload) *sitev1.Entry {
	change := &sitev1.ApplyResources{}
	for _, w := range ws {
		change.Resources = append(change.Resources, &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: w}})
	}
	return &sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: change}}
}

func deleteEntry(kind, name string) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{Kind: kind, Project: "default", Name: name}}}
}

// plan is carried out on the present state.
func (s *site) plan(p *sitev1.Plan) (rejected uint32) {
	s.t.Helper()
	p.BaseIndex = s.index
	return s.ok(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: p}}).GetRejected()
}

func create(workload string, generation uint64) *sitev1.NewPlacement {
	return &sitev1.NewPlacement{Project: "default", Workload: workload, Generation: generation}
}

func assign(placement, node string) *sitev1.Assignment {
	return &sitev1.Assignment{Project: "default", Placement: placement, Node: node,
		Decision: &skerryv1.Decision{Summary: "it fits " + node}}
}

func remove(placement string) *sitev1.Removal {
	return &sitev1.Removal{Project: "default", Placement: placement, Reason: "surplus"}
}

func (s *site) setState(node string, state skerryv1.NodeState) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: node, State: state, Reason: "a test"}}})
}

func (s *site) report(node, placement string, status *skerryv1.PlacementStatus, gone bool) (rejected uint32) {
	s.t.Helper()
	return s.ok(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
		Node:       node,
		Placements: []*sitev1.PlacementReport{{Project: "default", Placement: placement, Status: status, Gone: gone}},
	}}}}}).GetRejected()
}

// names of the placements of a workload.
func (s *site) names(workload string) []string {
	var names []string
	for _, p := range s.store.View().PlacementsOf("default", workload) {
		names = append(names, p.GetName())
	}
	return names
}

func (s *site) wantNames(workload string, want ...string) {
	s.t.Helper()
	if got := s.names(workload); !slices.Equal(got, want) {
		s.t.Errorf("placements of %s are %v, want %v", workload, got, want)
	}
}
