package main

import (
	"context"
	"errors"
	"io"

	"skerry.dev/agent"
	"skerry.dev/agent/runtime"
	"skerry.dev/coordinator"
	"skerry.dev/coordinator/consensus/pebblelog"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// newVoter gives an agent its replica: here the two sides meet.
func newVoter(options agent.VoterOptions) (agent.Voter, error) {
	voter, err := coordinator.New(coordinator.Config{
		Node: options.Node, Site: options.Site, RaftID: options.RaftID, Dir: options.Dir, Init: options.Init, Again: options.Again,
		AuditDir: options.AuditDir, AuditKey: options.AuditKey,
		Peers: options.Peers, Dialer: options.Dialer, Images: localImages{options.Images},
		Authority: options.Authority, JwtSigner: options.JwtSigner, Recipient: options.Recipient, SiteTime: options.SiteTime, Queue: options.Queue, Own: options.Own, Recovered: options.Recovered, Env: options.Env, Logger: options.Logger,
	})
	if errors.Is(err, pebblelog.ErrUntrusted) {
		return nil, errors.Join(agent.ErrUntrusted, err)
	}
	if err != nil {
		return nil, err
	}
	return collected{voter}, nil
}

// localImages are the images of this node as the coordinator sees them.
type localImages struct{ store runtime.ImageStore }

// Import implements the coordinator's Images.
func (l localImages) Import(ctx context.Context, tar io.Reader, name string) ([]*skerryv1.Image, error) {
	stored, err := l.store.Import(ctx, tar, name)
	if err != nil {
		return nil, err
	}
	images := make([]*skerryv1.Image, 0, len(stored))
	for _, i := range stored {
		images = append(images, &skerryv1.Image{Kind: "Image", Name: i.Name, Digest: i.Digest, Size: i.Size, DiskBytes: i.DiskBytes})
	}
	return images, nil
}
