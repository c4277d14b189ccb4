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

// crowded is how many CAs a chain of trust may name before they wait only for the
// nodes that say that they hang on them: nodes that are away for good would
// otherwise fill it until it takes no new one.
const crowded = 32

// HangsOn are the nodes that hang on a CA as far as is known. On a CA that issues
// no more hangs also who has not said yet that it takes nothing more from it: it
// may have been issued something since it last said who did.
func (v *View) HangsOn(authority []byte) []string {
	sum := sha256.Sum256(authority)
	_, issues := v.Issuers()[sum]
	var names []string
	for node := range v.AllNodes() {
		if hangsOn(node, sum, !issues && len(v.meta.trusted) <= crowded) {
			names = append(names, node.GetName())
		}
	}
	return names
}

// hangsOn tells whether a node of the site hangs on a CA: until it has said that it
// takes nothing more from it, if untilRefused.
func hangsOn(node *skerryv1.Node, sum [sha256.Size]byte, untilRefused bool) bool {
	switch {
	case node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED:
		return false
	case len(node.GetSvidIssuer()) != sha256.Size: // it has not said who issued it
		return true
	default:
		return bytes.Equal(node.GetSvidIssuer(), sum[:]) || contains(node.GetWorkloadIssuers(), sum) ||
			untilRefused && !contains(node.GetRefusedIssuers(), sum)
	}
}

func contains(sums [][]byte, sum [sha256.Size]byte) bool {
	return slices.ContainsFunc(sums, func(other []byte) bool { return bytes.Equal(other, sum[:]) })
}

// refusedIssuers are those of the CAs from which a node says it takes nothing more
// that retire now. Of one that issues, that was said before it issued again.
func (x *tx) refusedIssuers(said [][]byte) [][]byte {
	if len(said) == 0 {
		return nil
	}
	replicas := nodes.by(x.rows, byReplica, "yes")
	return slices.DeleteFunc(boundedIssuers(said), func(sum []byte) bool {
		return slices.ContainsFunc(replicas, func(node *skerryv1.Node) bool { return issuesWith(node, [sha256.Size]byte(sum)) })
	})
}

// issuesAgain forgets who has said that it takes nothing more from the CA of a
// node that issues from now on.
func (x *tx) issuesAgain(node *skerryv1.Node) {
	sum := sha256.Sum256(node.GetAuthority())
	for _, other := range nodes.list(x.rows) {
		if !contains(other.GetRefusedIssuers(), sum) {
			continue
		}
		other = shallow(other)
		other.RefusedIssuers = slices.DeleteFunc(slices.Clone(other.GetRefusedIssuers()), func(refused []byte) bool { return bytes.Equal(refused, sum[:]) })
		other.ResourceVersion = x.index
		nodes.put(x, other)
	}
}

// issuesWith tells whether a node issues with the CA of this SHA-256.
func issuesWith(node *skerryv1.Node, sum [sha256.Size]byte) bool {
	return hasReplica(node) && len(node.GetAuthority()) > 0 && sha256.Sum256(node.GetAuthority()) == sum
}

// MustRenew tells whether the CA that issued a node's SVID issues no more, so that the
// node takes another one. The one that Calls keeps it.
func (v *View) MustRenew(node *skerryv1.Node) bool {
	issuer := node.GetSvidIssuer()
	if len(issuer) != sha256.Size || node.GetName() == v.Calls() {
		return false
	}
	_, issues := v.Issuers()[[sha256.Size]byte(issuer)]
	return !issues
}

// mayRetire refuses a version without a CA that issues, or on which something
// hangs: whoever made it had not seen that yet. The CAs of evicted nodes leave at
// once (SAFETY, rule 13).
func (x *tx) mayRetire(version *sitev1.TrustVersion) error {
	after, all := trustedBy(version), nodes.list(x.rows)
	if len(after) == 0 {
		return nil // appendTrust says what is wrong with it
	}
	for _, sum := range x.trusted {
		if slices.Contains(after, sum) {
			continue
		}
		if held := held(all, sum, len(x.trusted) <= crowded); len(held) > 0 {
			return problem.New(problem.Conflict, "trust", "the CA %x cannot be retired: it is that of %s, or has issued what is in use there",
				sum[:8], strings.Join(held, ", ")).WithHint("skerry ca list shows what each CA waits for")
		}
	}
	return nil
}

// held are the nodes for which a CA must stay.
func held(all []*skerryv1.Node, sum [sha256.Size]byte, untilRefused bool) []string {
	var issue, hang []string
	evicted := false
	for _, node := range all {
		if len(node.GetAuthority()) > 0 && sha256.Sum256(node.GetAuthority()) == sum {
			evicted = evicted || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
			if hasReplica(node) {
				issue = append(issue, node.GetName())
			}
		}
		if hangsOn(node, sum, untilRefused) {
			hang = append(hang, node.GetName())
		}
	}
	if len(issue) > 0 || evicted {
		return issue
	}
	return hang
}
