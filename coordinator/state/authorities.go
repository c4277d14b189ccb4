package state

import (
	"crypto/sha256"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// rotateAuthorities asks every node with a replica for a new CA. One rotation
// ends before the next begins.
func (x *tx) rotateAuthorities() (*sitev1.Outcome, error) {
	for _, node := range nodes.list(x.Txn) {
		if hasReplica(node) && node.GetAuthorityGeneration() < x.authorityGeneration {
			return nil, problem.New(problem.Conflict, "site "+x.site, "a rotation is under way: %s has not made its new CA yet", node.GetName()).
				WithHint("skerry ca list shows what it waits for")
		}
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
	for _, node := range v.Nodes() {
		if hasReplica(node) && len(node.GetAuthority()) > 0 {
			issuers[sha256.Sum256(node.GetAuthority())] = node.GetName()
		}
	}
	return issuers
}

// HangsOn are the nodes whose SVIDs a CA issued, or that have not said who
// did.
func (v *View) HangsOn(authority []byte) []string {
	sum := sha256.Sum256(authority)
	var names []string
	for _, node := range v.Nodes() {
		removed := node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
		if issuer := node.GetSvidIssuer(); !removed && (len(issuer) != sha256.Size || sum == [sha256.Size]byte(issuer)) {
			names = append(names, node.GetName())
		}
	}
	return names
}

// MustRenew tells whether the CA that issued a node's SVID issues no more.
func (v *View) MustRenew(node *skerryv1.Node) bool {
	issuer := node.GetSvidIssuer()
	if len(issuer) != sha256.Size {
		return false
	}
	_, current := v.Issuers()[[sha256.Size]byte(issuer)]
	return !current
}
