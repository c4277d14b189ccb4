package state

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// AuthorityAhead tells whether a CA of the last rotation that counts begins only
// after now: time was set back since.
func (v *View) AuthorityAhead(now time.Time) bool {
	return authorityAhead(v.Nodes(), v.meta, now)
}

func authorityAhead(all []*skerryv1.Node, m meta, now time.Time) bool {
	return slices.ContainsFunc(all, func(node *skerryv1.Node) bool {
		if !hasReplica(node) || node.GetAuthorityGeneration() != m.authorityGeneration ||
			!slices.Contains(m.trusted, sha256.Sum256(node.GetAuthority())) {
			return false
		}
		authority, err := certs.ParseAuthority(node.GetAuthority(), m.site)
		return err == nil && authority.NotBefore.After(now)
	})
}

// rotateAuthorities asks every node with a replica for a new CA. One rotation
// ends before the next begins, unless its CAs begin after site time.
func (x *tx) rotateAuthorities() (*sitev1.Outcome, error) {
	var behind []string
	all := nodes.list(x.rows)
	for _, node := range all {
		if hasReplica(node) && !node.GetWitness() && node.GetAuthorityGeneration() < x.authorityGeneration {
			behind = append(behind, node.GetName())
		}
	}
	if len(behind) > 0 && !authorityAhead(all, x.meta, x.time.AsTime()) {
		return nil, problem.New(problem.Conflict, "site "+x.site, "a rotation is under way and waits for a new CA on %s", strings.Join(behind, ", ")).
			WithHint("skerry ca list shows what it waits for")
	}
	x.authorityGeneration++
	x.inform(subject{kind: "Site", name: x.site}, "AuthoritiesRotate", "every voter makes a new CA")
	return &sitev1.Outcome{}, nil
}

func hasReplica(node *skerryv1.Node) bool {
	return node.GetRaftId() != 0 && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED
}

// AuthorityGeneration is how often the CAs were rotated.
func (v *View) AuthorityGeneration() uint64 { return v.meta.authorityGeneration }

// Issuers are the CAs that issue: those of the nodes with a replica, by the
// SHA-256 of their certificates.
func (v *View) Issuers() map[[sha256.Size]byte]string {
	issuers := map[[sha256.Size]byte]string{}
	for _, node := range v.Replicas() {
		if hasReplica(node) && len(node.GetAuthority()) > 0 {
			issuers[sha256.Sum256(node.GetAuthority())] = node.GetName()
		}
	}
	return issuers
}

// Retiring are the SHA-256 of the CAs that issue no more, though what they issued
// still counts, sorted.
func (v *View) Retiring() [][]byte {
	issuers := v.Issuers()
	var retiring [][]byte
	for _, sum := range v.meta.trusted {
		if _, issues := issuers[sum]; !issues {
			retiring = append(retiring, bytes.Clone(sum[:]))
		}
	}
	return retiring
}

// trustedBy a version of the chain of trust are the CAs that it names. It was
// read before it was appended.
func trustedBy(version *sitev1.TrustVersion) [][sha256.Size]byte {
	body := &sitev1.TrustBody{}
	if err := proto.Unmarshal(version.GetBody(), body); err != nil {
		return nil
	}
	var sums [][sha256.Size]byte
	for _, authority := range body.GetAuthorities() {
		sums = append(sums, sha256.Sum256(authority))
	}
	slices.SortFunc(sums, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	return sums
}
