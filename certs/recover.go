package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

const recoverIDSize = 16

// ErrForked is within the error about a chain of trust that was recovered apart
// from the one that is believed: two sites have come of one.
var ErrForked = errors.New("the site was recovered twice, apart from each other")

// SiteEpoch counts the recoveries of the site, from 1.
func (b *Bundle) SiteEpoch() uint64 { return b.siteEpoch }

// RecoverID tells the last recovery from others; nil when there was none.
func (b *Bundle) RecoverID() []byte {
	if len(b.recovered) == 0 {
		return nil
	}
	return b.recovered[len(b.recovered)-1]
}

// Recovered tells whether the chain has the record of a recovery with this ID.
func (b *Bundle) Recovered(id []byte) bool {
	return slices.ContainsFunc(b.recovered, func(known []byte) bool { return bytes.Equal(known, id) })
}

// CountedBefore tells whether a CA counted already when the site was last recovered:
// those who have not heard of that know it.
func (b *Bundle) CountedBefore(authority *x509.Certificate) bool {
	return slices.ContainsFunc(b.before, authority.Equal)
}

// begin takes in what a version says of a recovery.
func (b *Bundle) begin(before *Bundle, record *sitev1.RecoverRecord) error {
	b.siteEpoch = 1
	if before != nil {
		b.siteEpoch, b.recovered, b.before = before.siteEpoch, before.recovered, before.before
	}
	if record == nil {
		return nil
	}
	if before == nil || record.GetSiteEpoch() != before.siteEpoch+1 || len(record.GetId()) != recoverIDSize {
		return fmt.Errorf("its record of a recovery begins site epoch %d after %d", record.GetSiteEpoch(), b.siteEpoch)
	}
	b.siteEpoch, b.recovered = record.GetSiteEpoch(), append(slices.Clip(b.recovered), record.GetId())
	b.before = before.authorities
	return nil
}

// Continue returns what is believed after a part of a chain was heard of, which may
// begin anywhere in what is known, or after it: the known one unless the other
// continues it or, when it is whole, began a later site epoch at a version that both
// have. The versions of the known one after that were made by those whom the
// recovery left behind. Its signer must count by all that is known, so that
// who was evicted meanwhile recovers nothing.
//
// What was recovered on both sides is a fork: nothing merges. With ErrForked comes
// the bundle of the other chain.
func (b *Bundle) Continue(known, part []*sitev1.TrustVersion) ([]*sitev1.TrustVersion, *Bundle, error) {
	if len(part) == 0 {
		return known, b, nil
	}
	refuse := func(format string, args ...any) error {
		return problem.New(problem.Conflict, "chain of trust", format, args...)
	}
	last := &sitev1.TrustBody{}
	if err := proto.Unmarshal(part[len(part)-1].GetBody(), last); err != nil || last.GetVersion() < uint64(len(part)) {
		return nil, nil, problem.New(problem.Invalid, "chain of trust", "what came is no part of a chain")
	}
	have, first := uint64(len(known)), last.GetVersion()-uint64(len(part))+1
	if first > have+1 {
		return nil, nil, refuse("what came begins with version %d, what is believed here ends with %d", first, have)
	}
	both := min(have+1-first, uint64(len(part))) // how many of them are known
	if both == 0 || proto.Equal(part[both-1], known[first+both-2]) {
		// The last one that both have names all before it by their hashes.
		if both == uint64(len(part)) {
			return known, b, nil
		}
		next, err := b.Extend(part[both:])
		return slices.Concat(known, part[both:]), next, err
	}
	switch {
	case first != 1 && both == uint64(len(part)):
		return known, b, nil
	case first != 1:
		return nil, nil, refuse("what came does not continue what is believed here")
	default:
		return b.branch(known, part)
	}
}

// branch judges a whole chain that is another one than the known one.
func (b *Bundle) branch(known, other []*sitev1.TrustVersion) ([]*sitev1.TrustVersion, *Bundle, error) {
	same := 0
	for same < len(known) && same < len(other) && proto.Equal(known[same], other[same]) {
		same++
	}
	next, err := VerifyTrust(b.siteID, other)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := recovery(known[same:]), recovery(other[same:])
	refuse := func(format string, args ...any) error {
		return problem.New(problem.Conflict, "chain of trust", format, args...)
	}
	switch {
	case ours != nil && theirs != nil:
		return nil, next, refuse("%w: site epoch %d is %x here and %x there", ErrForked, ours.GetSiteEpoch(), ours.GetId()[:4], theirs.GetId()[:4])
	case theirs == nil && ours != nil:
		return known, b, nil // what the recovery left behind
	case theirs == nil || !beginsWith(other[same], theirs):
		return nil, nil, refuse("what came does not continue what is believed here")
	}
	if !b.signs(other[same]) {
		return nil, nil, refuse("whoever recovered the site with version %d signed it with a CA that does not count any more", same+1)
	}
	return other, next, nil
}

// signs: the CA that signed a version counts.
func (b *Bundle) signs(version *sitev1.TrustVersion) bool {
	for _, authority := range b.authorities {
		if bytes.Equal(authority.Raw, version.GetSigner()) {
			return true
		}
	}
	return false
}

// recovery is the first record of one in some versions that were verified; nil
// for none.
func recovery(versions []*sitev1.TrustVersion) *sitev1.RecoverRecord {
	for _, version := range versions {
		body := &sitev1.TrustBody{}
		if err := proto.Unmarshal(version.GetBody(), body); err == nil && body.GetRecover() != nil {
			return body.GetRecover()
		}
	}
	return nil
}

func beginsWith(version *sitev1.TrustVersion, record *sitev1.RecoverRecord) bool {
	return proto.Equal(recovery([]*sitev1.TrustVersion{version}), record)
}
