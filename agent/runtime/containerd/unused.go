package containerd

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"skerry.dev/shared/problem"
)

// RemoveImage removes an image under all its names. Blobs and layers that nothing
// else names go with the last one.
func (d *Driver) RemoveImage(ctx context.Context, digest string) error {
	parsed, err := parseDigest(digest)
	if err != nil {
		return err
	}
	ctx = d.in(ctx)
	users, err := d.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q==%s", labelDigest, parsed))
	if err != nil {
		return d.problem("Image/"+digest, "who uses it cannot be found out", err)
	}
	if len(users) > 0 {
		return problem.New(problem.Conflict, "Image/"+digest, "%s uses it", users[0].Labels[labelInstance])
	}
	records, err := d.records(ctx)
	if err != nil {
		return d.problem("Image/"+digest, "it cannot be removed", err)
	}
	for _, record := range records {
		if record.Target.Digest != parsed {
			continue
		}
		err := d.client.ImageService().Delete(ctx, record.Name, images.SynchronousDelete())
		if err != nil && !errdefs.IsNotFound(err) {
			return d.problem("Image/"+digest, "it cannot be removed", err)
		}
	}
	return nil
}
