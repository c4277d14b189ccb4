package state

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
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
	return authorityAhead(v.nodes.of(v.rows).replicas, v.meta, now, func(n *skerryv1.Node) *x509.Certificate { return v.Authorities()[n.GetName()] })
}

func authorityAhead(all []*skerryv1.Node, m meta, now time.Time, parsed func(*skerryv1.Node) *x509.Certificate) bool {
	return slices.ContainsFunc(all, func(node *skerryv1.Node) bool {
		if !hasReplica(node) || node.GetAuthorityGeneration() != m.authorityGeneration ||
			!slices.Contains(m.trusted, sha256.Sum256(node.GetAuthority())) {
			return false
		}
		authority := parsed(node)
		return authority != nil && authority.NotBefore.After(now)
	})
}

// parsed CA of a node; nil when it is none.
func (m *meta) parsed(node *skerryv1.Node) *x509.Certificate {
	authority, err := certs.ParseAuthority(node.GetAuthority(), m.site)
	if err != nil {
		return nil
	}
	return authority
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
	if len(behind) > 0 && !authorityAhead(all, x.meta, x.time.AsTime(), x.parsed) {
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
func (v *View) Issuers() map[[sha256.Size]byte]string { return v.nodes.of(v.rows).issuers }

// Authorities are the CAs that nodes say they have, by node, evicted ones' too:
// those that can be CAs of the site. It must not be changed.
func (v *View) Authorities() map[string]*x509.Certificate {
	list := v.nodes.of(v.rows)
	list.parsing.Do(func() {
		list.authorities = map[string]*x509.Certificate{}
		for _, node := range list.all {
			if len(node.GetAuthority()) == 0 {
				continue // thousands have none; an error for each is not for free
			}
			if authority, err := certs.ParseAuthority(node.GetAuthority(), v.meta.site); err == nil {
				list.authorities[node.GetName()] = authority
			}
		}
	})
	return list.authorities
}

func issuersOf(replicas []*skerryv1.Node) map[[sha256.Size]byte]string {
	issuers := map[[sha256.Size]byte]string{}
	for _, node := range replicas {
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
