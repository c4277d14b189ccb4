package state

import (
	"bytes"
	"slices"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxSecretKeyVersions are there at once: one that something is still under
	// cannot be forgotten.
	maxSecretKeyVersions = 8
	maxWraps             = 64
	maxWrap              = 256
	maxRecoveryKeys      = 16
	maxRewrapped         = 256
	publicKeySize        = 65
)

var secretKeys = table[*sitev1.SecretKey]{
	name:    "secretkeys",
	key:     func(k *sitev1.SecretKey) string { return keyVersion(k.GetVersion()) },
	ordinal: secretKeysOrdinal,
}

var recoveryKeys = table[*sitev1.RecoveryKey]{
	name:    "recoverykeys",
	key:     func(k *sitev1.RecoveryKey) string { return k.GetName() },
	ordinal: recoveryKeysOrdinal,
}

func aboutSecretKey() subject { return subject{kind: "SecretKey", name: "site"} }

// presentSecretKey is the version for what is sealed from now on; 0 for none.
func (x *tx) presentSecretKey() uint64 {
	var newest uint64
	for _, k := range secretKeys.list(x.rows) {
		newest = max(newest, k.GetVersion())
	}
	return newest
}

// addSecretKey makes a version of the site's key the present one.
func (x *tx) addSecretKey(change *sitev1.AddSecretKey) (*sitev1.Outcome, error) {
	given, present := change.GetKey(), x.presentSecretKey()
	if given.GetVersion() != present+1 {
		return nil, problem.New(problem.Conflict, "secret key", "version %d does not follow version %d", given.GetVersion(), present).
			WithHint("it was rotated at the same moment")
	}
	if len(given.GetWraps()) == 0 || len(given.GetWraps()) > maxWraps || len(given.GetCheck()) == 0 || len(given.GetCheck()) > maxWrap {
		return nil, problem.New(problem.Invalid, "secret key", "version %d is sealed to nobody, or to too many", given.GetVersion())
	}
	for _, wrap := range given.GetWraps() {
		if err := checkWrap(wrap); err != nil {
			return nil, err
		}
	}
	x.forgetSecretKeys()
	if x.counts[secretKeysOrdinal] == maxSecretKeyVersions {
		return nil, exhausted("versions of the site's key with secrets under them", maxSecretKeyVersions)
	}
	kept := shallow(given)
	kept.Created = x.time
	secretKeys.put(x, kept)
	x.inform(aboutSecretKey(), "SecretKeyAdded", "version %d of the site's key for secrets", given.GetVersion())
	x.forgetSecretKeys()
	return &sitev1.Outcome{}, nil
}

func checkWrap(wrap *sitev1.KeyWrap) error {
	if (wrap.GetNode() == "") == (wrap.GetRecovery() == "") || len(wrap.GetNode()) > maxNodeName || len(wrap.GetRecovery()) > maxName ||
		len(wrap.GetPublicKey()) != publicKeySize || len(wrap.GetSealed()) == 0 || len(wrap.GetSealed()) > maxWrap {
		return problem.New(problem.Invalid, "secret key", "a wrap is for one node or one recovery key, with its public key")
	}
	return nil
}

// wrapSecretKey changes who may open a version of the site's key. At least one
// who may is left.
func (x *tx) wrapSecretKey(change *sitev1.WrapSecretKey) (*sitev1.Outcome, error) {
	old := secretKeys.get(x.rows, keyVersion(change.GetVersion()))
	if old == nil {
		return nil, problem.New(problem.NotFound, "secret key", "there is no version %d", change.GetVersion())
	}
	kept := shallow(old)
	kept.Wraps = slices.DeleteFunc(slices.Clone(old.GetWraps()), func(w *sitev1.KeyWrap) bool {
		return w.GetNode() != "" && slices.Contains(change.GetDrop(), w.GetNode())
	})
	for _, wrap := range change.GetAdd() {
		if err := checkWrap(wrap); err != nil {
			return nil, err
		}
		kept.Wraps = withWrap(kept.Wraps, wrap)
	}
	if len(kept.Wraps) == 0 || len(kept.Wraps) > maxWraps {
		return nil, problem.New(problem.Invalid, "secret key", "version %d would be sealed to nobody, or to too many", change.GetVersion())
	}
	secretKeys.put(x, kept)
	return &sitev1.Outcome{}, nil
}

// withWrap adds a wrap, in place of one for the same holder.
func withWrap(wraps []*sitev1.KeyWrap, wrap *sitev1.KeyWrap) []*sitev1.KeyWrap {
	wraps = slices.DeleteFunc(slices.Clone(wraps), func(w *sitev1.KeyWrap) bool {
		return w.GetNode() == wrap.GetNode() && w.GetRecovery() == wrap.GetRecovery()
	})
	return append(wraps, wrap)
}

// rewrapSecrets puts data keys under the present version of the site's key.
// Those whose secret has changed meanwhile are passed over and counted.
func (x *tx) rewrapSecrets(change *sitev1.RewrapSecrets) (*sitev1.Outcome, error) {
	if len(change.GetSecrets()) > maxRewrapped {
		return nil, problem.New(problem.Invalid, "secret key", "%d secrets at once, at most %d are taken", len(change.GetSecrets()), maxRewrapped)
	}
	outcome, present := &sitev1.Outcome{}, x.presentSecretKey()
	for _, given := range change.GetSecrets() {
		old := secrets.get(x.rows, key(given.GetProject(), given.GetName()))
		sealed := given.GetSealed()
		if old == nil || old.GetSealed().GetVersion() != sealed.GetVersion() || sealed.GetKeyVersion() != present || len(sealed.GetDataKey()) > maxDataKey {
			outcome.Rejected++
			continue
		}
		secrets.put(x, &sitev1.SecretRecord{Secret: old.GetSecret(), Sealed: &sitev1.SealedSecret{
			Version: sealed.GetVersion(), Ciphertext: old.GetSealed().GetCiphertext(),
			KeyVersion: sealed.GetKeyVersion(), DataKey: sealed.GetDataKey(),
		}})
	}
	x.forgetSecretKeys()
	return outcome, nil
}

// forgetSecretKeys drops older versions of the site's key that nothing is under
// any more.
func (x *tx) forgetSecretKeys() {
	present := x.presentSecretKey()
	for _, k := range secretKeys.list(x.rows) {
		if k.GetVersion() == present || x.inUse(k.GetVersion()) {
			continue
		}
		secretKeys.remove(x, keyVersion(k.GetVersion()))
		x.inform(aboutSecretKey(), "SecretKeyForgotten", "version %d of the site's key for secrets: nothing is under it any more", k.GetVersion())
	}
}

func (x *tx) inUse(version uint64) bool {
	return secrets.has(x.rows, byKeyVersion, keyVersion(version))
}

// addRecoveryKey lets the holder of a key outside of the site open the site's.
func (x *tx) addRecoveryKey(change *sitev1.AddRecoveryKey) (*sitev1.Outcome, error) {
	given := change.GetKey()
	about := "recovery key " + bounded(given.GetName(), maxName)
	if err := checkName("RecoveryKey", given.GetName()); err != nil {
		return nil, err
	}
	if len(given.GetPublicKey()) != publicKeySize {
		return nil, problem.New(problem.Invalid, about, "it is not a public key").WithField("publicKey")
	}
	if old := recoveryKeys.get(x.rows, given.GetName()); old != nil && !bytes.Equal(old.GetPublicKey(), given.GetPublicKey()) {
		return nil, problem.New(problem.Conflict, about, "there is one of this name already").WithHint("give it another name, or remove the old one first")
	}
	if x.counts[recoveryKeysOrdinal] == maxRecoveryKeys {
		return nil, exhausted("recovery keys", maxRecoveryKeys)
	}
	recoveryKeys.put(x, &sitev1.RecoveryKey{Name: given.GetName(), PublicKey: given.GetPublicKey(), Created: x.time})
	for _, wrap := range change.GetWraps() {
		if wrap.GetWrap().GetRecovery() != given.GetName() {
			return nil, problem.New(problem.Invalid, about, "a wrap is for another")
		}
		if secretKeys.get(x.rows, keyVersion(wrap.GetVersion())) == nil {
			continue // forgotten meanwhile
		}
		if _, err := x.wrapSecretKey(&sitev1.WrapSecretKey{Version: wrap.GetVersion(), Add: []*sitev1.KeyWrap{wrap.GetWrap()}}); err != nil {
			return nil, err
		}
	}
	x.inform(subject{kind: "RecoveryKey", name: given.GetName()}, "RecoveryKeyAdded", "its holder can open the site's key for secrets")
	return &sitev1.Outcome{}, nil
}

// removeRecoveryKey drops its wraps too; the coordinator rotates the site's key
// then, because the holder may have kept it.
func (x *tx) removeRecoveryKey(change *sitev1.RemoveRecoveryKey) (*sitev1.Outcome, error) {
	name := change.GetName()
	if recoveryKeys.get(x.rows, name) == nil {
		return nil, problem.New(problem.NotFound, "recovery key "+bounded(name, maxName), "there is no such key").
			WithHint("skerry secret recovery-key list shows what there is")
	}
	recoveryKeys.remove(x, name)
	x.warn(subject{kind: "RecoveryKey", name: name}, "RecoveryKeyRemoved", "the site's key for secrets is rotated; restored backups from before still open with it")
	return &sitev1.Outcome{}, nil
}

// SecretKeys are the versions of the site's key for secrets that are in use,
// oldest first; the last one is the present one.
func (v *View) SecretKeys() []*sitev1.SecretKey {
	all := secretKeys.list(v.rows)
	slices.SortFunc(all, func(a, b *sitev1.SecretKey) int { return int(a.GetVersion()) - int(b.GetVersion()) })
	return all
}

// RecoveryKeys of the site.
func (v *View) RecoveryKeys() []*sitev1.RecoveryKey { return recoveryKeys.list(v.rows) }

// SecretsUnder are the secrets whose data keys are under a version of the site's
// key.
func (v *View) SecretsUnder(version uint64) []*sitev1.SecretRecord {
	return secrets.by(v.rows, byKeyVersion, keyVersion(version))
}
