package state

import (
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/ticket"
)

const (
	// imageKeyLife is how long a key is the newest. A ticket that somebody kept
	// opens nothing when its key is gone: after two of these, or three on a site
	// that began with the first key.
	imageKeyLife = 24 * time.Hour
	maxImageKeys = 3
)

// ImageKeys are what sources judge by.
func (v *View) ImageKeys() [][]byte { return v.meta.imageKeys.GetKeys() }

// TicketKey is the one of ImageKeys that tickets are made with, nil when there is
// none yet. It is not the newest, which some sources may not have yet, unless it
// is the only one.
func (v *View) TicketKey() []byte {
	keys := v.ImageKeys()
	if len(keys) == 0 {
		return nil
	}
	return keys[max(0, len(keys)-2)]
}

// ImageKeyDue tells whether a new one is to come.
func (v *View) ImageKeyDue() bool { return v.meta.imageKeyDue() }

func (m *meta) imageKeyDue() bool {
	return m.imageKeys == nil || m.time.AsTime().Sub(m.imageKeys.GetMade().AsTime()) >= imageKeyLife
}

func (x *tx) rotateImageKey(change *sitev1.RotateImageKey) (*sitev1.Outcome, error) {
	if len(change.GetKey()) != ticket.KeySize {
		return nil, problem.New(problem.Invalid, "images", "a key has %d bytes", ticket.KeySize)
	}
	if !x.imageKeyDue() {
		return nil, problem.New(problem.Conflict, "images", "the newest key is younger than %s", imageKeyLife)
	}
	old := x.imageKeys.GetKeys()
	keys := append(old[max(0, len(old)-maxImageKeys+1):len(old):len(old)], change.GetKey())
	x.setImageKeys(&sitev1.ImageKeys{Keys: keys, Made: x.time})
	return &sitev1.Outcome{}, nil
}

func (x *tx) setImageKeys(keys *sitev1.ImageKeys) {
	if x.imageKeys != nil {
		x.sum -= x.hash("imageKeys", x.imageKeys)
	}
	x.imageKeys = keys
	x.sum += x.hash("imageKeys", keys)
	x.common = x.index // every node gets its own
}
