package manifest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	maxSecretKeys = 64
	// MaxSecretBytes of one secret's values in all.
	MaxSecretBytes = 64 << 10
	maxSecretUses  = 64
	// minLauncherMemory of a container with secrets in variables.
	minLauncherMemory = 32 << 20
)

// DefaultSecretMode of files of secrets.
const DefaultSecretMode = "0400"

var secretKeyPattern = regexp.MustCompile(`^[-._A-Za-z0-9]{1,253}$`)

// fillSecret forgets what the site sets.
func fillSecret(s *skerryv1.Secret) {
	set(&s.Kind, "Secret")
	set(&s.Project, "default")
	s.Keys = nil
}

// SecretValues are the values of a secret, by key. Errors name fields, never
// what is in them.
func SecretValues(s *skerryv1.Secret) (map[string][]byte, error) {
	values := map[string][]byte{}
	for _, key := range slices.Sorted(maps.Keys(s.GetData())) {
		value, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s.GetData()[key]), ""))
		if err != nil {
			return nil, problem.New(problem.Invalid, "Secret/"+shorten(s.GetName()), "it is not base64").
				WithField(join("data", key)).WithHint("stringData takes text as it is")
		}
		values[key] = value
	}
	for key, value := range s.GetStringData() {
		values[key] = []byte(value)
	}
	return values, nil
}

// SecretSizes tells the keys of a secret and how large their values are.
func SecretSizes(values map[string][]byte) []*skerryv1.SecretKeySize {
	var sizes []*skerryv1.SecretKeySize
	for _, key := range slices.Sorted(maps.Keys(values)) {
		sizes = append(sizes, &skerryv1.SecretKeySize{Key: key, Size: uint32(len(values[key]))})
	}
	return sizes
}

// CheckSecretKey refuses what cannot be the name of a file in a directory of
// its own.
func CheckSecretKey(key string) error {
	if !secretKeyPattern.MatchString(key) || key == "." || strings.HasPrefix(key, "..") {
		return fmt.Errorf("%q is not a key: 1 to 253 letters, digits, -, _ and dots, not starting with two dots", shorten(key))
	}
	return nil
}

// secret checks what a user declares. Files must have been read.
func (v *validator) secret(s *skerryv1.Secret) {
	seen, total := map[string]bool{}, 0
	for _, part := range []struct {
		field  string
		values map[string]string
	}{{"data", s.GetData()}, {"stringData", s.GetStringData()}, {"file", s.GetFile()}} {
		for _, key := range slices.Sorted(maps.Keys(part.values)) {
			if err := CheckSecretKey(key); err != nil {
				v.fail(join(part.field, key), "%w", err)
			}
			if seen[key] {
				v.fail(join(part.field, key), "the key is given twice")
			}
			seen[key] = true
		}
	}
	values, err := SecretValues(s)
	if err != nil {
		v.found = append(v.found, err.(*problem.Error))
	}
	for _, value := range values {
		total += len(value)
	}
	switch {
	case len(seen) == 0:
		v.fail("data", "there is no value").Hint = "give values under data (base64), stringData (text) or file (names of files)"
	case len(seen) > maxSecretKeys:
		v.fail("data", "%d keys, at most %d are taken", len(seen), maxSecretKeys)
	case total > MaxSecretBytes:
		v.fail("data", "%d bytes in all, at most %d are taken", total, MaxSecretBytes)
	}
}

// CheckFilesRead refuses a resource whose files are names still: only the command
// line reads them.
func CheckFilesRead(resource *skerryv1.Resource) error {
	if w := resource.GetWorkload(); strings.HasPrefix(w.GetVm().GetCloudInit().GetUserData(), FileMark) {
		return problem.New(problem.Invalid, "Workload/"+w.GetName(), "files are read where the manifest is: skerry apply").
			WithField("vm.cloudInit.userData").WithHint("give the user data itself")
	}
	secret := resource.GetSecret()
	if len(secret.GetFile()) == 0 {
		return nil
	}
	return problem.New(problem.Invalid, "Secret/"+secret.GetName(), "files are read where the manifest is: skerry apply").
		WithField("file").WithHint("give the values under data")
}

// secretUses checks what a container gets of secrets.
func (v *validator) secretUses(c *skerryv1.Container) {
	v.atMost("container.secrets", len(c.GetSecrets()), maxSecretUses)
	taken := map[string]bool{}
	for _, mount := range c.GetMounts() {
		taken[mount.GetTarget()] = true
	}
	variables := map[string]bool{}
	defer func() { v.roomForLauncher(c, len(variables)) }()
	for i, use := range c.GetSecrets() {
		field := fmt.Sprintf("container.secrets[%d]", i)
		v.name(field+".secret", use.GetSecret())
		if use.GetKey() != "" {
			if err := CheckSecretKey(use.GetKey()); err != nil {
				v.fail(field+".key", "%w", err)
			}
		}
		if (use.GetPath() == "") == (use.GetEnv() == "") {
			v.fail(field, "give exactly one of path and env")
			continue
		}
		if use.GetEnv() != "" {
			v.secretVariable(field, c, use, variables)
		} else {
			v.secretPath(field, use, taken)
		}
	}
}

// roomForLauncher: variables reach the process through a program that starts
// it, which needs memory for a moment.
func (v *validator) roomForLauncher(c *skerryv1.Container, variables int) {
	if memory, err := Memory(c.GetResources().GetMemory()); variables > 0 && err == nil && memory < minLauncherMemory {
		v.fail("container.resources.memory", "%q is less than 32Mi, which secrets in variables need at the start", c.GetResources().GetMemory()).Hint =
			"or give the secret as files, with path"
	}
}

func (v *validator) secretVariable(field string, c *skerryv1.Container, use *skerryv1.SecretUse, taken map[string]bool) {
	if use.GetKey() == "" {
		v.fail(field+".key", "it is missing").Hint = "a variable holds one key"
	}
	if use.GetMode() != "" {
		v.fail(field+".mode", "a variable has none")
	}
	_, plain := c.GetEnv()[use.GetEnv()]
	switch {
	case !envShape.fits(use.GetEnv()):
		v.fail(field+".env", "it is not the name of a variable")
	case plain || taken[use.GetEnv()]:
		v.fail(field+".env", "%s is given twice", use.GetEnv())
	}
	taken[use.GetEnv()] = true
}

func (v *validator) secretPath(field string, use *skerryv1.SecretUse, taken map[string]bool) {
	if !cleanAbsolute(use.GetPath()) || use.GetPath() == "/" {
		v.fail(field+".path", "%q is not a clean absolute path below /", shorten(use.GetPath()))
	} else if path.Dir(use.GetPath()) == "/" && slices.Contains([]string{"/etc", "/proc", "/sys", "/dev"}, use.GetPath()) {
		v.fail(field+".path", "%s is the system's", use.GetPath()).Hint = "as in /run/secrets/NAME"
	}
	if use.GetPath() == IdentityDir || strings.HasPrefix(use.GetPath(), IdentityDir+"/") {
		v.fail(field+".path", "%s is for the Workload API", IdentityDir)
	}
	if taken[use.GetPath()] {
		v.fail(field+".path", "%q is given twice", shorten(use.GetPath()))
	}
	taken[use.GetPath()] = true
	v.oneOf(field+".mode", use.GetMode(), "0400", "0440", "0444")
}
