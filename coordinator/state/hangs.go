package state

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// HangsOn are the nodes that hang on a CA as far as is known, and, unless the CA
// issues, those that must renew: any CA may have issued to them since they last
// said who did, also without a coordinator in reach.
func (v *View) HangsOn(authority []byte) []string {
	sum, issuers := sha256.Sum256(authority), v.Issuers()
	_, issues := issuers[sum]
	return v.thoseThat(func(node *skerryv1.Node) bool { return maySay(node, sum) || !issues && renews(node, issuers) })
}

// KnownToHangOn are the nodes whose SVIDs, or those of their workloads, a CA
// issued as they say, and those that have not said who did.
func (v *View) KnownToHangOn(authority []byte) []string {
	sum := sha256.Sum256(authority)
	return v.thoseThat(func(node *skerryv1.Node) bool { return maySay(node, sum) })
}

// thoseThat are the names of nodes of the site.
func (v *View) thoseThat(hang func(*skerryv1.Node) bool) []string {
	var names []string
	for _, node := range v.Nodes() {
		if node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED && hang(node) {
			names = append(names, node.GetName())
		}
	}
	return names
}

func maySay(node *skerryv1.Node, sum [sha256.Size]byte) bool {
	return len(node.GetSvidIssuer()) != sha256.Size || saysItHangs(node, sum)
}

func saysItHangs(node *skerryv1.Node, sum [sha256.Size]byte) bool {
	of := func(issuer []byte) bool { return bytes.Equal(issuer, sum[:]) }
	return of(node.GetSvidIssuer()) || slices.ContainsFunc(node.GetWorkloadIssuers(), of)
}

// MustRenew tells whether the CA that issued a node's SVID issues no more.
func (v *View) MustRenew(node *skerryv1.Node) bool {
	return issuesNoMore(node.GetSvidIssuer(), v.Issuers())
}

// renews tells whether the node's SVID, or one of its workloads', must be renewed.
func renews(node *skerryv1.Node, issuers map[[sha256.Size]byte]string) bool {
	return issuesNoMore(node.GetSvidIssuer(), issuers) ||
		slices.ContainsFunc(node.GetWorkloadIssuers(), func(issuer []byte) bool { return issuesNoMore(issuer, issuers) })
}

func issuesNoMore(issuer []byte, issuers map[[sha256.Size]byte]string) bool {
	if len(issuer) != sha256.Size {
		return false
	}
	_, issues := issuers[[sha256.Size]byte(issuer)]
	return !issues
}

// mayRetire refuses a version without a CA that issues, or on which something
// hangs: whoever made it had not seen that yet. The CAs of evicted nodes leave at
// once (SAFETY, rule 13).
func (x *tx) mayRetire(version *sitev1.TrustVersion) error {
	after, all := trustedBy(version), nodes.list(x.Txn)
	if len(after) == 0 {
		return nil // appendTrust says what is wrong with it
	}
	for _, sum := range x.trusted {
		if slices.Contains(after, sum) {
			continue
		}
		if held := held(all, sum); len(held) > 0 {
			return problem.New(problem.Conflict, "trust", "the CA %x cannot be retired: it is that of %s, or has issued what is in use there",
				sum[:8], strings.Join(held, ", ")).WithHint("skerry ca list shows what each CA waits for")
		}
	}
	return nil
}

// held are the nodes for which a CA must stay.
func held(all []*skerryv1.Node, sum [sha256.Size]byte) []string {
	var issue, hang []string
	evicted := false
	for _, node := range all {
		removed := node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
		if len(node.GetAuthority()) > 0 && sha256.Sum256(node.GetAuthority()) == sum {
			evicted = evicted || removed
			if hasReplica(node) {
				issue = append(issue, node.GetName())
			}
		}
		if !removed && saysItHangs(node, sum) {
			hang = append(hang, node.GetName())
		}
	}
	if len(issue) > 0 || evicted {
		return issue
	}
	return hang
}
