package secrets

import (
	"bytes"
	"slices"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// rewrapAtOnce is how many data keys go under a new version in one entry.
const rewrapAtOnce = 64

// Next is the one entry that the coordinator should commit now so that the
// right ones can open the site's key and all data keys are under its present
// version; nil when all is so. An error means that this voter cannot open the
// key: another one must be the coordinator.
//
// Each entry stands for itself: after a crash between two the next coordinator
// goes on from what is there.
func (k *Keeper) Next(view *state.View) (*sitev1.Entry, error) {
	self := view.Node(k.node)
	if view.SiteID() == "" || self.GetRaftId() == 0 || !bytes.Equal(self.GetSealingKey(), k.own.Public()) {
		return nil, nil // its record does not name this key yet
	}
	present := Present(view)
	if present == nil || compromised(view, present) {
		return k.NewVersion(view)
	}
	var failed error
	for _, version := range view.SecretKeys() {
		entry, err := k.wrap(view, version)
		if entry != nil {
			return entry, nil
		}
		if err != nil {
			failed = err
		}
	}
	if entry := k.rewrap(view, present.GetVersion()); entry != nil {
		return entry, nil
	}
	return nil, failed
}

// holder is who should be able to open the site's key.
type holder struct {
	node, recovery string
	public         []byte
}

func (h holder) place(siteID string, version uint64) envelope.Place {
	if h.node != "" {
		return envelope.SiteKeyPlace(siteID, version, "node", h.node)
	}
	return envelope.SiteKeyPlace(siteID, version, "recovery", h.recovery)
}

func (h holder) has(wraps []*sitev1.KeyWrap) bool {
	return slices.ContainsFunc(wraps, func(w *sitev1.KeyWrap) bool {
		return w.GetNode() == h.node && w.GetRecovery() == h.recovery && bytes.Equal(w.GetPublicKey(), h.public)
	})
}

// holders are the nodes with a replica and the recovery keys.
func holders(view *state.View) []holder {
	var all []holder
	for _, node := range Replicas(view) {
		all = append(all, holder{node: node.GetName(), public: node.GetSealingKey()})
	}
	for _, key := range view.RecoveryKeys() {
		all = append(all, holder{recovery: key.GetName(), public: key.GetPublicKey()})
	}
	return all
}

// Replicas are the nodes that should be able to open the site's key: those with
// a replica of the log, but for witnesses.
func Replicas(view *state.View) []*skerryv1.Node {
	return slices.DeleteFunc(view.Replicas(), func(n *skerryv1.Node) bool {
		return n.GetWitness() || n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || envelope.CheckPublic(n.GetSealingKey()) != nil
	})
}

// compromised: somebody can open this version who does not belong to the site
// any more, a node that was removed or whose place another machine has taken, or
// the holder of a recovery key that was removed.
func compromised(view *state.View, version *sitev1.SecretKey) bool {
	recovery := map[string][]byte{}
	for _, key := range view.RecoveryKeys() {
		recovery[key.GetName()] = key.GetPublicKey()
	}
	return slices.ContainsFunc(version.GetWraps(), func(w *sitev1.KeyWrap) bool {
		if w.GetNode() == "" {
			return !bytes.Equal(recovery[w.GetRecovery()], w.GetPublicKey())
		}
		node := view.Node(w.GetNode())
		return node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || !bytes.Equal(node.GetSealingKey(), w.GetPublicKey())
	})
}

// NewVersion is the entry that makes a new version of the site's key.
func (k *Keeper) NewVersion(view *state.View) (*sitev1.Entry, error) {
	key, err := envelope.NewKey(k.drawn)
	if err != nil {
		return nil, err
	}
	next := &sitev1.SecretKey{Version: Present(view).GetVersion() + 1, Check: envelope.Check(key)}
	for _, h := range holders(view) {
		wrap, err := wrapFor(view.SiteID(), next.GetVersion(), h, key)
		if err != nil {
			return nil, err
		}
		next.Wraps = append(next.Wraps, wrap)
	}
	return &sitev1.Entry{Change: &sitev1.Entry_AddSecretKey{AddSecretKey: &sitev1.AddSecretKey{Key: next}}}, nil
}

func wrapFor(siteID string, version uint64, h holder, key []byte) (*sitev1.KeyWrap, error) {
	sealed, err := envelope.SealTo(h.public, h.place(siteID, version), key)
	if err != nil {
		return nil, problem.New(problem.Internal, "secret key", "it cannot be sealed to %s%s: %w", h.node, h.recovery, err)
	}
	return &sitev1.KeyWrap{Node: h.node, Recovery: h.recovery, PublicKey: h.public, Sealed: sealed}, nil
}

// wrap is the entry that seals a version to those who lack it, and forgets the
// wraps of nodes without a replica.
func (k *Keeper) wrap(view *state.View, version *sitev1.SecretKey) (*sitev1.Entry, error) {
	change := &sitev1.WrapSecretKey{Version: version.GetVersion()}
	all := holders(view)
	for _, wrap := range version.GetWraps() {
		if wrap.GetNode() != "" && !slices.ContainsFunc(all, func(h holder) bool { return h.node == wrap.GetNode() }) {
			change.Drop = append(change.Drop, wrap.GetNode())
		}
	}
	key, err := k.open(view, version)
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		if h.has(version.GetWraps()) {
			continue
		}
		wrap, err := wrapFor(view.SiteID(), version.GetVersion(), h, key)
		if err != nil {
			return nil, err
		}
		change.Add = append(change.Add, wrap)
	}
	if len(change.GetAdd())+len(change.GetDrop()) == 0 {
		return nil, nil
	}
	return &sitev1.Entry{Change: &sitev1.Entry_WrapSecretKey{WrapSecretKey: change}}, nil
}

// Recovered is the entry that takes back a version of the site's key, which was
// handed in sealed to this voter. It is sealed anew to all nodes with a replica:
// what was handed in for others only they could check, when it is needed.
func (k *Keeper) Recovered(view *state.View, version uint64, sealed []byte) (*sitev1.Entry, error) {
	key, err := k.own.Open(envelope.SiteKeyPlace(view.SiteID(), version, "node", k.node), sealed)
	known := slices.ContainsFunc(view.SecretKeys(), func(record *sitev1.SecretKey) bool {
		return record.GetVersion() == version && err == nil && bytes.Equal(envelope.Check(key), record.GetCheck())
	})
	if !known {
		return nil, problem.New(problem.Conflict, "secret key", "what was handed back for version %d does not open on the coordinator", version).
			WithHint("was the recovery key made by this site? If it was, try again: another node may have become the coordinator")
	}
	change := &sitev1.WrapSecretKey{Version: version}
	for _, node := range Replicas(view) {
		wrap, err := wrapFor(view.SiteID(), version, holder{node: node.GetName(), public: node.GetSealingKey()}, key)
		if err != nil {
			return nil, err
		}
		change.Add = append(change.Add, wrap)
	}
	return &sitev1.Entry{Change: &sitev1.Entry_WrapSecretKey{WrapSecretKey: change}}, nil
}

// rewrap is the entry that puts data keys under the present version; nil when
// all are.
func (k *Keeper) rewrap(view *state.View, present uint64) *sitev1.Entry {
	change := &sitev1.RewrapSecrets{}
	for _, version := range view.SecretKeys() {
		if version.GetVersion() == present {
			continue
		}
		for _, record := range view.SecretsUnder(version.GetVersion()) {
			if len(change.GetSecrets()) == rewrapAtOnce {
				break
			}
			// One that is damaged stays behind: whoever asks for it is told.
			if rewrapped, err := k.rewrapOne(view, record, present); err == nil {
				change.Secrets = append(change.Secrets, rewrapped)
			}
		}
	}
	if len(change.GetSecrets()) == 0 {
		return nil
	}
	return &sitev1.Entry{Change: &sitev1.Entry_RewrapSecrets{RewrapSecrets: change}}
}

func (k *Keeper) rewrapOne(view *state.View, record *sitev1.SecretRecord, present uint64) (*sitev1.RewrappedSecret, error) {
	dataKey, err := k.dataKey(view, record)
	if err != nil {
		return nil, err
	}
	siteKey, err := k.siteKey(view, present)
	if err != nil {
		return nil, err
	}
	project, name, version := record.GetSecret().GetProject(), record.GetSecret().GetName(), record.GetSealed().GetVersion()
	wrapped, err := envelope.Encrypt(siteKey, envelope.DataKeyPlace(view.SiteID(), project, name, version, present), dataKey)
	return &sitev1.RewrappedSecret{Project: project, Name: name, Sealed: &sitev1.SealedSecret{
		Version: version, KeyVersion: present, DataKey: wrapped,
	}}, err
}

// RecoveryKey is the entry that lets the holder of a recovery key open all
// versions of the site's key.
func (k *Keeper) RecoveryKey(view *state.View, name string, public []byte) (*sitev1.Entry, error) {
	change := &sitev1.AddRecoveryKey{Key: &sitev1.RecoveryKey{Name: name, PublicKey: public}}
	for _, version := range view.SecretKeys() {
		key, err := k.open(view, version)
		if err != nil {
			return nil, err
		}
		wrap, err := wrapFor(view.SiteID(), version.GetVersion(), holder{recovery: name, public: public}, key)
		if err != nil {
			return nil, err
		}
		change.Wraps = append(change.Wraps, &sitev1.VersionedWrap{Version: version.GetVersion(), Wrap: wrap})
	}
	return &sitev1.Entry{Change: &sitev1.Entry_AddRecoveryKey{AddRecoveryKey: change}}, nil
}
