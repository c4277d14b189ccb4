// Package secrets seals what must not enter the log in the clear, opens it
// again for those who may have it, and decides who can open the site's key.
//
// A voter holds the site's key in memory only, opened with its own sealing key
// from what the replicated state holds. The package proposes nothing and stores
// nothing: Next says what the coordinator should commit. It logs nothing, and
// its errors name things, never values.
package secrets

import (
	"bytes"
	"sync"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// Keeper is one voter's access to secrets. It is safe for concurrent use.
type Keeper struct {
	node  string
	own   *envelope.Recipient
	drawn env.Rand

	// Writing is held from sealing to the commit of what was sealed, so that
	// writes of this coordinator do not overtake each other.
	Writing sync.Mutex

	mu sync.Mutex
	// keys are versions of the site's key that were opened.
	keys map[uint64]siteKey
}

type siteKey struct{ check, key []byte }

// New returns the keeper of a node with this sealing key.
func New(node string, own *envelope.Recipient, rand env.Rand) *Keeper {
	return &Keeper{node: node, own: own, drawn: rand, keys: map[uint64]siteKey{}}
}

// Present version of the site's key; nil when there is none yet.
func Present(view *state.View) *sitev1.SecretKey {
	all := view.SecretKeys()
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// CanOpen tells whether this voter can open the present version.
func (k *Keeper) CanOpen(view *state.View) bool {
	present := Present(view)
	if present == nil {
		return false
	}
	_, err := k.siteKey(view, present.GetVersion())
	return err == nil
}

// Able are the voters, without this one, to whom versions of the site's key are
// sealed that this voter cannot open.
func (k *Keeper) Able(view *state.View) []uint64 {
	var able []uint64
	for _, version := range view.SecretKeys() {
		if _, err := k.open(view, version); err == nil {
			continue
		}
		for _, voter := range view.Voters() {
			h := holder{node: voter.GetName(), public: voter.GetSealingKey()}
			if voter.GetName() != k.node && h.has(version.GetWraps()) {
				able = append(able, voter.GetRaftId())
			}
		}
	}
	return able
}

// siteKey opens a version of the site's key.
func (k *Keeper) siteKey(view *state.View, version uint64) ([]byte, error) {
	for _, record := range view.SecretKeys() {
		if record.GetVersion() == version {
			return k.open(view, record)
		}
	}
	return nil, problem.New(problem.Conflict, "secret key", "there is no version %d", version).WithHint("it was rotated at the same moment; try again")
}

func (k *Keeper) open(view *state.View, record *sitev1.SecretKey) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	version := record.GetVersion()
	if known, ok := k.keys[version]; ok && bytes.Equal(known.check, record.GetCheck()) {
		return known.key, nil
	}
	for _, wrap := range record.GetWraps() {
		if wrap.GetNode() != k.node || !bytes.Equal(wrap.GetPublicKey(), k.own.Public()) {
			continue
		}
		key, err := k.own.Open(envelope.SiteKeyPlace(view.SiteID(), version, "node", k.node), wrap.GetSealed())
		if err != nil || !bytes.Equal(envelope.Check(key), record.GetCheck()) {
			break
		}
		k.remember(view, version, siteKey{check: record.GetCheck(), key: key})
		return key, nil
	}
	return nil, problem.New(problem.Unavailable, "secret key", "node %s cannot open version %d of the site's key for secrets", k.node, version).
		WithHint("another voter may; if none can: skerry secret recover --key FILE")
}

// remember needs mu. What the site has forgotten is forgotten here too.
func (k *Keeper) remember(view *state.View, version uint64, opened siteKey) {
	kept := map[uint64]siteKey{version: opened}
	for _, record := range view.SecretKeys() {
		if known, ok := k.keys[record.GetVersion()]; ok && record.GetVersion() != version {
			kept[record.GetVersion()] = known
		}
	}
	k.keys = kept
}

// Seal the values of the next version of a secret, under the present version of
// the site's key. When they are those of the present version it returns that
// one's number and no content.
func (k *Keeper) Seal(view *state.View, project, name string, values map[string][]byte) (*sitev1.SealedSecret, error) {
	present := Present(view)
	if present == nil {
		return nil, problem.New(problem.Unavailable, "secret key", "the site has no key for secrets yet").
			WithHint("it makes one when its first voter has started; try again in a few seconds")
	}
	siteKey, err := k.siteKey(view, present.GetVersion())
	if err != nil {
		return nil, err
	}
	old := view.Secret(project, name)
	if old != nil {
		before, err := k.Values(view, old)
		if err == nil && sameValues(before, values) {
			return &sitev1.SealedSecret{Version: old.GetSealed().GetVersion()}, nil
		}
	}
	dataKey, err := envelope.NewKey(k.drawn)
	if err != nil {
		return nil, err
	}
	sealed := &sitev1.SealedSecret{Version: old.GetSealed().GetVersion() + 1, KeyVersion: present.GetVersion()}
	if sealed.Ciphertext, err = envelope.EncryptValues(dataKey, view.SiteID(), project, name, sealed.GetVersion(), values); err != nil {
		return nil, problem.New(problem.Invalid, "Secret/"+name, "it cannot be sealed: its keys are not text")
	}
	sealed.DataKey, err = envelope.Encrypt(siteKey, envelope.DataKeyPlace(view.SiteID(), project, name, sealed.GetVersion(), sealed.GetKeyVersion()), dataKey)
	return sealed, err
}

func sameValues(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for key, value := range a {
		if other, ok := b[key]; !ok || !bytes.Equal(value, other) {
			return false
		}
	}
	return true
}

// Values of a secret, opened.
func (k *Keeper) Values(view *state.View, record *sitev1.SecretRecord) (map[string][]byte, error) {
	dataKey, err := k.dataKey(view, record)
	if err != nil {
		return nil, err
	}
	secret, sealed := record.GetSecret(), record.GetSealed()
	values, err := envelope.DecryptValues(dataKey, view.SiteID(), secret.GetProject(), secret.GetName(), sealed.GetVersion(), sealed.GetCiphertext())
	if err != nil {
		return nil, damaged(secret.GetName(), err)
	}
	return values, nil
}

func (k *Keeper) dataKey(view *state.View, record *sitev1.SecretRecord) ([]byte, error) {
	secret, sealed := record.GetSecret(), record.GetSealed()
	siteKey, err := k.siteKey(view, sealed.GetKeyVersion())
	if err != nil {
		return nil, err
	}
	place := envelope.DataKeyPlace(view.SiteID(), secret.GetProject(), secret.GetName(), sealed.GetVersion(), sealed.GetKeyVersion())
	dataKey, err := envelope.Decrypt(siteKey, place, sealed.GetDataKey())
	if err != nil {
		return nil, damaged(secret.GetName(), err)
	}
	return dataKey, nil
}

func damaged(name string, err error) error {
	return problem.New(problem.Internal, "Secret/"+name, "%w", err).WithHint("apply it again from where its values come from")
}
