package state

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	maxSecrets = 10_000
	// Bounds of one secret.
	maxSecretKeys    = 64
	maxSecretKeyName = 253
	maxCiphertext    = 80 << 10
	maxDataKey       = 128
)

var secrets = table[*sitev1.SecretRecord]{
	name: "secrets",
	key: func(r *sitev1.SecretRecord) string {
		return key(r.GetSecret().GetProject(), r.GetSecret().GetName())
	},
	indexes: map[string]func(*sitev1.SecretRecord) string{
		byKeyVersion: func(r *sitev1.SecretRecord) string { return keyVersion(r.GetSealed().GetKeyVersion()) },
	},
	ordinal: secretsOrdinal,
}

// byKeyVersion finds what is under one version of the site's key.
const byKeyVersion = "keyVersion"

func keyVersion(version uint64) string { return strconv.FormatUint(version, 10) }

func aboutSecret(s *skerryv1.Secret) subject {
	return subject{kind: "Secret", project: s.GetProject(), name: s.GetName()}
}

// applySecrets applies the secrets of a change before all else: workloads beside
// them may name them.
func (x *tx) applySecrets(change *sitev1.ApplyResources, outcome *sitev1.Outcome) error {
	sealed := change.GetSecrets()
	for i, resource := range change.GetResources() {
		secret := resource.GetSecret()
		if secret == nil {
			continue
		}
		var content *sitev1.SealedSecret
		if len(sealed) > 0 {
			content, sealed = sealed[0], sealed[1:]
		}
		applied, err := x.applySecret(secret, content)
		if err != nil {
			return err
		}
		outcome.Applied[i] = applied
	}
	return nil
}

// applySecret takes over a secret whose content was sealed before it came here.
func (x *tx) applySecret(given *skerryv1.Secret, sealed *sitev1.SealedSecret) (*skerryv1.AppliedResource, error) {
	record := secrets.get(x.rows, key(given.GetProject(), given.GetName()))
	if err := checkSecret(given, sealed, record); err != nil {
		return nil, err
	}
	if err := x.needsProject(given.GetProject()); err != nil {
		return nil, err
	}
	if record == nil && x.counts[secretsOrdinal] == maxSecrets {
		return nil, exhausted("secrets", maxSecrets)
	}
	if len(sealed.GetCiphertext()) == 0 {
		return x.relabelSecret(given, record), nil
	}
	if sealed.GetKeyVersion() != x.presentSecretKey() {
		return nil, problem.New(problem.Conflict, "Secret/"+given.GetName(), "the site's key was rotated at the same moment").
			WithHint("nothing was changed; apply it again")
	}
	if err := x.checkKeysInUse(given); err != nil {
		return nil, err
	}
	next := &skerryv1.Secret{
		Kind: "Secret", Name: given.GetName(), Project: given.GetProject(), Labels: given.GetLabels(), Keys: given.GetKeys(),
		Generation: sealed.GetVersion(), ResourceVersion: x.index, Created: x.time,
	}
	outcome := outcomeCreated
	if record != nil {
		next.Created, outcome = record.GetSecret().GetCreated(), outcomeConfigured
		x.inform(aboutSecret(next), "SecretChanged", "version %d, %d keys", next.GetGeneration(), len(next.GetKeys()))
	} else {
		x.inform(aboutSecret(next), "SecretCreated", "%d keys", len(next.GetKeys()))
	}
	secrets.put(x, &sitev1.SecretRecord{Secret: next, Sealed: sealed})
	x.forgetSecretKeys()
	return appliedSecret(next, outcome), nil
}

// relabelSecret keeps the content.
func (x *tx) relabelSecret(given *skerryv1.Secret, record *sitev1.SecretRecord) *skerryv1.AppliedResource {
	next := shallow(record.GetSecret())
	next.Labels = given.GetLabels()
	if proto.Equal(next, record.GetSecret()) {
		return appliedSecret(record.GetSecret(), outcomeUnchanged)
	}
	next.ResourceVersion = x.index
	secrets.put(x, &sitev1.SecretRecord{Secret: next, Sealed: record.GetSealed()})
	return appliedSecret(next, outcomeConfigured)
}

func appliedSecret(s *skerryv1.Secret, outcome string) *skerryv1.AppliedResource {
	return &skerryv1.AppliedResource{Resource: &skerryv1.Resource{Kind: &skerryv1.Resource_Secret{Secret: s}}, Outcome: outcome}
}

// checkSecret refuses what the state could not keep. A value in the clear must
// never have come so far; it is refused all the same.
func checkSecret(given *skerryv1.Secret, sealed *sitev1.SealedSecret, record *sitev1.SecretRecord) error {
	about := "Secret/" + bounded(given.GetName(), maxName)
	if err := checkSecretNames(about, given); err != nil {
		return err
	}
	present := record.GetSealed().GetVersion()
	if record == nil && given.GetResourceVersion() != 0 {
		return problem.New(problem.Conflict, about, "it does not exist any more").
			WithField("resourceVersion").WithHint("leave the resource version out to create it")
	}
	if err := checkVersion(about, given.GetResourceVersion(), record.GetSecret().GetResourceVersion()); err != nil {
		return err
	}
	want := present + 1
	if len(sealed.GetCiphertext()) == 0 {
		want = present
	}
	switch {
	case sealed == nil || (len(sealed.GetCiphertext()) == 0 && record == nil):
		return problem.New(problem.Invalid, about, "it has no content")
	case sealed.GetVersion() != want:
		return problem.New(problem.Conflict, about, "it changed at the same moment").WithHint("nothing was changed; apply it again")
	case len(sealed.GetCiphertext()) > maxCiphertext || len(sealed.GetDataKey()) > maxDataKey:
		return problem.New(problem.Invalid, about, "it is larger than %d KiB", maxCiphertext>>10)
	}
	return nil
}

func checkSecretNames(about string, given *skerryv1.Secret) error {
	if given.GetKind() != "Secret" {
		return problem.New(problem.Invalid, about, "it must be Secret").WithField("kind")
	}
	if err := checkName("Secret", given.GetName()); err != nil {
		return err
	}
	if err := checkName("Project", given.GetProject()); err != nil {
		return err
	}
	if len(given.GetData())+len(given.GetStringData())+len(given.GetFile()) > 0 {
		return problem.New(problem.Invalid, about, "its values are not sealed").WithField("data")
	}
	if len(given.GetKeys()) == 0 || len(given.GetKeys()) > maxSecretKeys {
		return problem.New(problem.Invalid, about, "it has %d keys, not 1 to %d", len(given.GetKeys()), maxSecretKeys).WithField("data")
	}
	for _, k := range given.GetKeys() {
		if k.GetKey() == "" || len(k.GetKey()) > maxSecretKeyName {
			return problem.New(problem.Invalid, about, "a key is 1 to %d characters", maxSecretKeyName).WithField("data")
		}
	}
	return checkLabels(about, given.GetLabels())
}

// checkKeysInUse refuses to take a key away that a workload names.
func (x *tx) checkKeysInUse(next *skerryv1.Secret) error {
	for _, user := range usersOf(x.rows, next.GetProject(), next.GetName()) {
		for _, use := range user.container.GetSecrets() {
			if use.GetSecret() == next.GetName() && use.GetKey() != "" && !hasKey(next, use.GetKey()) {
				return problem.New(problem.Conflict, "Secret/"+next.GetName(), "%s names its key %s, which would be gone", user.name, use.GetKey()).
					WithHint("keep the key, or change the workload first")
			}
		}
	}
	return nil
}

func hasKey(s *skerryv1.Secret, name string) bool {
	return slices.ContainsFunc(s.GetKeys(), func(k *skerryv1.SecretKeySize) bool { return k.GetKey() == name })
}

// secretUser is what names a secret.
type secretUser struct {
	name      string
	container *skerryv1.Container
}

// usersOf a secret: workloads, and placements that may yet start again as their
// workload was.
func usersOf(from *rows, project, secret string) []secretUser {
	var users []secretUser
	names := func(c *skerryv1.Container) bool {
		return slices.ContainsFunc(c.GetSecrets(), func(u *skerryv1.SecretUse) bool { return u.GetSecret() == secret })
	}
	for _, record := range workloads.list(from) {
		if w := record.GetWorkload(); w.GetProject() == project && names(w.GetContainer()) {
			users = append(users, secretUser{"workload " + w.GetName(), w.GetContainer()})
		}
	}
	for _, p := range placements.list(from) {
		if p.GetProject() == project && mayStart(p) && names(p.GetSpec().GetContainer()) {
			users = append(users, secretUser{"placement " + p.GetName(), p.GetSpec().GetContainer()})
		}
	}
	return users
}

// checkSecretUses refuses a workload that names what there is not.
func checkSecretUses(from *rows, w *skerryv1.Workload) error {
	for i, use := range w.GetContainer().GetSecrets() {
		secret := secrets.get(from, key(w.GetProject(), use.GetSecret())).GetSecret()
		about, field := "Workload/"+w.GetName(), "container.secrets["+strconv.Itoa(i)+"]"
		if secret == nil {
			return problem.New(problem.Invalid, about, "there is no secret %s in project %s", bounded(use.GetSecret(), maxName), w.GetProject()).
				WithField(field+".secret").WithHint("make it first: skerry secret create %s", bounded(use.GetSecret(), maxName))
		}
		if use.GetKey() != "" && !hasKey(secret, use.GetKey()) {
			return problem.New(problem.Invalid, about, "secret %s has no key %s", secret.GetName(), bounded(use.GetKey(), maxSecretKeyName)).
				WithField(field+".key").WithHint("skerry describe secret %s lists its keys", secret.GetName())
		}
	}
	return nil
}

func (x *tx) deleteSecret(project, name string, version uint64) (*sitev1.Outcome, error) {
	record := secrets.get(x.rows, key(project, name))
	if record == nil {
		return nil, missing("Secret", name)
	}
	if err := checkVersion("Secret/"+name, version, record.GetSecret().GetResourceVersion()); err != nil {
		return nil, err
	}
	if users := usersOf(x.rows, project, name); len(users) > 0 {
		return nil, problem.New(problem.Conflict, "Secret/"+name, "%s uses it", users[0].name).
			WithHint("change or delete the workload first")
	}
	secrets.remove(x, key(project, name))
	x.forgetSecretKeys()
	x.inform(aboutSecret(record.GetSecret()), "SecretDeleted", "version %d", record.GetSealed().GetVersion())
	return &sitev1.Outcome{}, nil
}

// revealSecret records that somebody read a value.
func (x *tx) revealSecret(change *sitev1.RevealSecret) (*sitev1.Outcome, error) {
	record := secrets.get(x.rows, key(change.GetProject(), change.GetName()))
	if record == nil {
		return nil, missing("Secret", bounded(change.GetName(), maxName))
	}
	if !hasKey(record.GetSecret(), change.GetKey()) {
		return nil, problem.New(problem.NotFound, "Secret/"+change.GetName(), "it has no key %s", bounded(change.GetKey(), maxSecretKeyName)).
			WithField("key").WithHint("skerry describe secret %s lists its keys", change.GetName())
	}
	x.warn(aboutSecret(record.GetSecret()), "SecretRevealed", "the value of %s, version %d, was read", change.GetKey(), record.GetSealed().GetVersion())
	return &sitev1.Outcome{}, nil
}

// Secret of this name, with its sealed content.
func (v *View) Secret(project, name string) *sitev1.SecretRecord {
	return secrets.get(v.rows, key(project, name))
}

// Secrets of all projects.
func (v *View) Secrets() []*sitev1.SecretRecord { return secrets.list(v.rows) }
