package check

import "time"

// refusedWithin is how soon a revoked key counts nowhere in reach.
const refusedWithin = 5 * time.Second

// Refused tells whether a node that is in reach refuses a key, so long after both
// were so.
func Refused(node, subject string, refuses bool, since time.Duration) *Violation {
	if !refuses && since > refusedWithin {
		return violated(RevokedOut, "%s still takes %s, %s after it was revoked and %s was in reach", node, subject, since.Round(time.Millisecond), node)
	}
	return nil
}

// Learnt tells that a node got gossip keys; evicted are keys that were made after
// it had left the site.
func Learnt(node string, keys [][]byte, made func(key []byte) (after bool)) *Violation {
	for _, key := range keys {
		if made(key) {
			return violated(KeysStay, "%s holds a key of gossip that was made after it was evicted", node)
		}
	}
	return nil
}

// Retired tells that a CA has left the chain of trust; hang names a node of the
// site whose SVID, or one of its workloads', hangs on it; empty for none.
func Retired(authority, hangs string) *Violation {
	if hangs != "" {
		return violated(NobodyOut, "%s was retired while an SVID on %s hung on it", authority, hangs)
	}
	return nil
}
