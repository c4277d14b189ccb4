package check

import "time"

const (
	// refusedWithin is how soon a revoked key counts nowhere in reach, learntWithin
	// how soon a node that was away learns of it.
	refusedWithin, learntWithin = 5 * time.Second, 15 * time.Second
)

// Refused tells whether a node refuses a key that was revoked so long ago. The node
// has been in reach of the coordinator for some time.
func Refused(node, subject string, refuses bool, revoked, inReach time.Duration) *Violation {
	late := revoked > refusedWithin
	if inReach < revoked {
		late = inReach > learntWithin
	}
	if !refuses && late {
		return violated(RevokedOut, "%s still takes %s, %s after it was revoked; it has been in reach for %s",
			node, subject, revoked.Round(time.Millisecond), inReach.Round(time.Millisecond))
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
