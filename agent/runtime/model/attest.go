package model

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// environment of an instance, apart from its image's.
func environment(spec runtime.Spec) map[string]string {
	env := maps.Clone(spec.Container.GetEnv())
	if spec.Identity {
		if env == nil {
			env = map[string]string{}
		}
		env[manifest.IdentityVariable] = manifest.IdentityAddress
	}
	return env
}

func (i *instance) printEnvironment() string {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(i.env)) {
		lines.WriteString(name + "=" + i.env[name] + "\n")
	}
	return lines.String()
}

// PID is the number of a running instance's process; 0 when it does not run. No
// number is used twice.
func (d *Driver) PID(id string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle()
	if i := d.instances[id]; i != nil && i.State == runtime.Running {
		return i.pid
	}
	return 0
}

// InstanceOf implements runtime.Attester.
func (d *Driver) InstanceOf(ctx context.Context, pid int) (string, error) {
	if err := d.enter(ctx, "attest", ""); err != nil {
		return "", err
	}
	defer d.mu.Unlock()
	for id, i := range d.instances {
		if i.State == runtime.Running && i.pid == pid {
			return id, nil
		}
	}
	return "", problem.New(problem.NotFound, fmt.Sprintf("process %d", pid), "it is in no container of this node's")
}

// GuardTarget implements runtime.Guarded. Nothing but the model can end it.
func (d *Driver) GuardTarget(id string, _ bool) string { return "model:" + id }
