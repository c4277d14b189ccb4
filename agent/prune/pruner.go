package prune

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/runtime"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// lookEvery is how often there is a look when nothing is asked, answerEvery
	// otherwise.
	lookEvery, answerEvery = time.Minute, 2 * time.Second
	// removeTime bounds the removal of one image: nothing is loaded meanwhile.
	removeTime = time.Minute
)

// Ledger is what this node is to run and to keep.
type Ledger interface {
	Current() *sitev1.Assignments
}

// Store holds the images.
type Store interface {
	Images(ctx context.Context) ([]runtime.StoredImage, error)
	TakeFresh() map[string]bool
	Remove(ctx context.Context, digest string, may func() bool) error
}

// Config of a pruner. All fields are required; an Age of 0 removes nothing.
type Config struct {
	Age    time.Duration
	Ledger Ledger
	Store  Store
	// Contact tells whether the coordinator is heard.
	Contact func() bool
	// Short tells whether there is little room for images.
	Short func() bool
	// SiteTime for people.
	SiteTime func() time.Time
	Env      env.System
	Logger   *slog.Logger
}

// Pruner removes images.
type Pruner struct {
	Config
	core Core

	mu    sync.Mutex
	asked []string
	last  *skerryv1.ImagesRemoved
}

// New returns a pruner; Run makes it act.
func New(config Config) *Pruner { return &Pruner{Config: config, core: Core{Age: config.Age}} }

// Asked are the images that it would remove, sorted.
func (p *Pruner) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// Last round that removed something; nil before the first.
func (p *Pruner) Last() *skerryv1.ImagesRemoved {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Run until ctx ends.
func (p *Pruner) Run(ctx context.Context) error {
	if p.Age == 0 {
		return nil
	}
	for {
		p.step(ctx)
		wait := min(lookEvery, p.Age/2)
		if len(p.Asked()) > 0 {
			wait = answerEvery
		}
		if err := env.Sleep(ctx, p.Env.Clock, wait); err != nil {
			return err
		}
	}
}

func (p *Pruner) step(ctx context.Context) {
	stored, err := p.Store.Images(ctx)
	if err != nil {
		return // that is a condition of the node
	}
	orders := p.Ledger.Current()
	due := p.core.Step(Look{
		At: p.Env.Clock.Elapsed(), Images: byContent(stored), Used: used(orders), Fresh: p.Store.TakeFresh(),
		Released: orders.GetReleasedImages(), Contact: p.Contact(), Short: p.Short(),
	})
	removed := p.remove(ctx, due)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = p.core.Asked()
	if removed != nil {
		p.last = removed
	}
}

// remove images, and tell which have gone; nil when none has.
func (p *Pruner) remove(ctx context.Context, due []Image) *skerryv1.ImagesRemoved {
	var removed *skerryv1.ImagesRemoved
	for _, i := range due {
		removeCtx, cancel := context.WithTimeout(ctx, removeTime)
		err := p.Store.Remove(removeCtx, i.Digest, func() bool { return p.may(i.Digest) })
		cancel()
		if err != nil {
			level := slog.LevelWarn
			if problem.KindOf(err) == problem.Conflict {
				level = slog.LevelDebug
			}
			p.Logger.Log(ctx, level, "an unused image stays for now", "image", i.Digest, "error", err)
			continue
		}
		p.Logger.Info("an image was removed: nothing here used it for long, and the site does not need it here",
			"image", i.Digest, "names", i.Names, "bytes", i.Bytes, "unused", p.core.unused(i.Digest, p.Env.Clock.Elapsed()))
		if removed == nil {
			removed = &skerryv1.ImagesRemoved{At: timestamppb.New(p.SiteTime())}
		}
		removed.Images = append(removed.Images, i.Names...)
		removed.Bytes += i.Bytes
	}
	if removed != nil {
		removed.Reason = fmt.Sprintf("%d MiB; nothing on the node used it for %s or longer, and the site needs no copy there",
			removed.GetBytes()>>20, p.core.unused(due[len(due)-1].Digest, p.Env.Clock.Elapsed()).Round(time.Second))
	}
	return removed
}

// may an image be removed at this moment?
func (p *Pruner) may(digest string) bool {
	orders := p.Ledger.Current()
	return p.Contact() && !used(orders)[digest] && slices.Contains(orders.GetReleasedImages(), digest)
}

// used are the images that orders name.
func used(orders *sitev1.Assignments) map[string]bool {
	named := map[string]bool{}
	for _, placement := range orders.GetPlacements() {
		named[placement.GetImageDigest()] = true
	}
	for _, source := range orders.GetImages() {
		named[source.GetDigest()] = true
	}
	return named
}

// byContent are images, each once.
func byContent(stored []runtime.StoredImage) []Image {
	var all []Image
	for _, s := range stored { // sorted by digest within each driver
		at := slices.IndexFunc(all, func(i Image) bool { return i.Digest == s.Digest })
		if at < 0 {
			all = append(all, Image{Digest: s.Digest, Bytes: s.Size})
			at = len(all) - 1
		}
		all[at].Names = append(all[at].Names, s.Name)
	}
	return all
}
