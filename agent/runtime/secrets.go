package runtime

import (
	"context"
	"fmt"
	"io/fs"
)

// Secrets are values that one instance gets to see and nobody else. They are no
// part of a spec's hash, and they print as nothing.
type Secrets struct {
	// Dirs are mounted read-only, in memory.
	Dirs []SecretDir
	// Env is for the process that the instance begins with.
	Env map[string]string
}

// SecretDir is a directory of files with values. They belong to the user that
// the instance runs as.
type SecretDir struct {
	Path  string
	Mode  fs.FileMode
	Files map[string][]byte
}

// Empty tells that there is nothing to give.
func (s Secrets) Empty() bool { return len(s.Dirs) == 0 && len(s.Env) == 0 }

// Format implements fmt.Formatter: whatever verb is used, no value is printed.
func (s Secrets) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "secrets(%d directories, %d variables)", len(s.Dirs), len(s.Env))
}

// SecretKeeper is a driver that changes the files of secrets under an instance
// that runs.
type SecretKeeper interface {
	// UpdateSecrets replaces the files in all directories of the spec's secrets:
	// who reads sees the old files or the new ones. Nothing happens when they are
	// the same, or when the instance is not there.
	UpdateSecrets(ctx context.Context, spec Spec) error
}
