package model

import (
	"context"
	"path"

	"skerry.dev/agent/runtime"
)

// UpdateSecrets implements runtime.SecretKeeper.
func (d *Driver) UpdateSecrets(ctx context.Context, spec runtime.Spec) error {
	if err := d.enter(ctx, "secrets", spec.ID); err != nil {
		return err
	}
	defer d.mu.Unlock()
	if i := d.instances[spec.ID]; i != nil && len(i.secrets.Dirs) > 0 {
		i.secrets.Dirs = spec.Secrets.Dirs
	}
	return nil
}

// secretFile is what a file of an instance's secrets holds.
func (i *instance) secretFile(name string) ([]byte, bool) {
	for _, dir := range i.secrets.Dirs {
		if dir.Path == path.Dir(name) {
			value, found := dir.Files[path.Base(name)]
			return value, found
		}
	}
	return nil, false
}
