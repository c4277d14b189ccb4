package containerd

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"skerry.dev/agent/runtime"
)

// Secrets in the environment do not go into the container's specification:
// containerd writes that to its disk. They are in a file on the tmpfs, and this
// program, mounted into the container, reads it and becomes the container's own
// process.
const (
	// LaunchCommand is the first argument with which this program is begun inside
	// a container; main hands it to Launch.
	LaunchCommand  = "launch-with-secrets"
	launchFile     = "/.skerry/launch"
	environFile    = "/.skerry/environ"
	environSource  = "environ"
	cannotLaunch   = 127
	separator      = "\x00"
	environDefault = 0o400
)

// makeSecretEnv writes the variables for the user that the container runs as.
func (d *Driver) makeSecretEnv(root string, env map[string]string, user specs.User) error {
	if len(env) == 0 {
		return nil
	}
	lines := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		lines = append(lines, name+"="+env[name])
	}
	path := filepath.Join(root, environSource)
	if err := os.WriteFile(path, []byte(strings.Join(lines, separator)), environDefault); err != nil {
		return err
	}
	return os.Lchown(path, int(user.UID), int(user.GID))
}

// launchMounts bring the launcher and what it reads into the container.
func (d *Driver) launchMounts(spec runtime.Spec) ([]specs.Mount, error) {
	if len(spec.Secrets.Env) == 0 {
		return nil, nil
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this program is not found: %w", err)
	}
	return []specs.Mount{
		{Destination: launchFile, Type: "bind", Source: program, Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev"}},
		{Destination: environFile, Type: "bind", Source: filepath.Join(d.secretsDir(containerID(spec.ID)), environSource),
			Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev", "noexec"}},
	}, nil
}

// launched puts the launcher before what the container runs.
func launched(spec runtime.Spec, args []string) []string {
	if len(spec.Secrets.Env) == 0 {
		return args
	}
	return append([]string{launchFile, LaunchCommand}, args...)
}

// Launch becomes the process that the arguments name, with the secrets in its
// environment. It returns only when that fails, with the exit code.
func Launch(args []string) int {
	err := launch(args)
	fmt.Fprintln(os.Stderr, "skerry: the container's process cannot begin:", err)
	return cannotLaunch
}

func launch(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("there is no command")
	}
	content, err := os.ReadFile(environFile)
	if err != nil {
		return fmt.Errorf("its secrets cannot be read: %w", err)
	}
	given := strings.Split(string(content), separator)
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(given, func(g string) bool { return strings.HasPrefix(g, name+"=") })
	})
	program, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, args, append(env, given...))
}
