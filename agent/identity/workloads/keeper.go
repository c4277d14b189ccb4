// Package workloads keeps the identities of the placements on this node: it
// makes their keys, asks voters for their SVIDs, renews them at half of their
// life, and keeps them sealed on the node's disk, so that after a power cut they
// are there with no coordinator in reach (SAFETY, rule 20).
//
// It decides nothing about who is entitled: voters do.
package workloads

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"skerry.dev/agent/identity/retiring"
	"skerry.dev/agent/seal"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// suffix of the sealed files.
const suffix = ".svid"

// askTime bounds one round of asking voters.
const askTime = 10 * time.Second

// Ledger is what this node must run.
type Ledger interface {
	Current() *sitev1.Assignments
	Changed() <-chan struct{}
}

// Site is whom this node believes, and the time.
type Site interface {
	Bundle() *certs.Bundle
	Now() time.Time
	// TrustChanged is closed when Bundle gives another one.
	TrustChanged() <-chan struct{}
	// Gate is passed by what is issued.
	Gate() *retiring.Gate
}

// Config of a keeper. All fields are required.
type Config struct {
	// Dir of the sealed files.
	Dir    string
	Seal   *seal.Sealer
	Ledger Ledger
	Site   Site
	// Ask asks a voter.
	Ask    func(context.Context, *sitev1.IssueSvidsRequest) (*sitev1.IssueSvidsResponse, error)
	Env    env.System
	Logger *slog.Logger
}

// Keeper is safe for concurrent use.
type Keeper struct {
	Config
	attempts map[string]attempt // of the one goroutine in Run

	mu      sync.Mutex
	held    map[string]*SVID
	changed chan struct{}
}

// Open reads what is kept. What does not open any more is asked for anew.
func Open(config Config) (*Keeper, error) {
	k := &Keeper{Config: config, attempts: map[string]attempt{}, held: map[string]*SVID{}, changed: make(chan struct{})}
	if err := k.Env.FS.MkdirAll(k.Dir, 0o700); err != nil {
		return nil, problem.New(problem.Internal, k.Dir, "the directory for identities of workloads cannot be made: %w", err)
	}
	names, err := k.Env.FS.ReadDir(k.Dir)
	if err != nil {
		return nil, problem.New(problem.Internal, k.Dir, "the identities of workloads cannot be read: %w", err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		if err := k.load(name); err != nil {
			k.Logger.Warn("the identity of a workload cannot be read; it is asked for anew", "file", name, "error", err)
		}
	}
	return k, nil
}

func (k *Keeper) load(name string) error {
	encoded, err := k.Seal.ReadFile(k.Env.FS, filepath.Join(k.Dir, name))
	if err != nil {
		return err
	}
	of, s, err := decode(encoded)
	if err == nil && of+suffix != name {
		err = errors.New("it is that of another placement")
	}
	if err == nil {
		k.held[of] = s
	}
	return err
}

func (k *Keeper) path(of string) string { return filepath.Join(k.Dir, of+suffix) }

// SVID of a placement; nil while there is none.
func (k *Keeper) SVID(project, placement string) *SVID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held[key(project, placement)]
}

// Issuers are the SHA-256 of the certificates of the CAs that count and on which
// an SVID hangs that has not expired, sorted.
func (k *Keeper) Issuers() [][]byte {
	bundle, now := k.Site.Bundle(), k.Site.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	var issuers [][]byte
	for _, s := range k.held {
		if ca := issuer(s, bundle); ca != nil && now.Before(s.Leaf.NotAfter) {
			issuers = append(issuers, fingerprint(ca))
		}
	}
	slices.SortFunc(issuers, bytes.Compare)
	return slices.CompactFunc(issuers, bytes.Equal)
}

// Changed is closed at the next change of any SVID.
func (k *Keeper) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// put takes over an SVID, nil for none any more.
func (k *Keeper) put(of string, s *SVID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s == nil {
		delete(k.held, of)
	} else {
		k.held[of] = s
	}
	close(k.changed)
	k.changed = make(chan struct{})
}

// Run keeps what is held up to date until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	timer := k.Env.Clock.NewTimer(longestWait)
	defer timer.Stop()
	for {
		ledgerChanged, trustChanged := k.Ledger.Changed(), k.Site.TrustChanged()
		p := decide(k.look())
		for _, of := range p.drop {
			k.drop(of)
		}
		if len(p.ask) > 0 {
			k.ask(ctx, p.ask)
			p.wait = 0 // there may be more
		}
		timer.Reset(p.wait)
		select {
		case <-ledgerChanged:
		case <-trustChanged:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (k *Keeper) look() view {
	k.mu.Lock()
	held := maps.Clone(k.held)
	k.mu.Unlock()
	now := k.Site.Now()
	return view{
		orders: k.Ledger.Current(), held: held, attempts: k.attempts, bundle: k.Site.Bundle(),
		now: now, known: sitetime.Stamp{Time: now}.Known(), elapsed: k.Env.Clock.Elapsed(),
	}
}

func (k *Keeper) drop(of string) {
	delete(k.attempts, of)
	if err := k.Env.FS.Remove(k.path(of)); err != nil {
		k.Logger.Warn("the identity of a placement that ended cannot be removed; it is tried again at the next start", "placement", of, "error", err)
	}
	k.put(of, nil)
}

// ask for the SVIDs of placements. Whatever comes of it, each is put off: what
// was issued is renewed when it is due, and not sooner.
func (k *Keeper) ask(ctx context.Context, placements []*skerryv1.Placement) {
	for _, p := range placements {
		of := keyOf(p)
		k.attempts[of] = k.attempts[of].failed(k.Env.Clock.Elapsed(), k.Env.Rand.Uint64())
	}
	if err := k.issue(ctx, placements); err != nil && ctx.Err() == nil {
		k.Logger.Warn("identities of workloads could not be had; it is tried again", "placements", len(placements), "error", err)
	}
}

func (k *Keeper) issue(ctx context.Context, placements []*skerryv1.Placement) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	request := &sitev1.IssueSvidsRequest{}
	var drafts []*draft
	for _, p := range placements {
		d, err := newDraft(k.Env.Rand, p)
		if err != nil {
			return err
		}
		drafts = append(drafts, d)
		request.Requests = append(request.Requests, &sitev1.SvidRequest{Project: p.GetProject(), Placement: p.GetName(), Csr: d.csr})
	}
	response, err := k.Ask(ctx, request)
	if err != nil {
		return err
	}
	if len(response.GetSvids()) != len(drafts) {
		return fmt.Errorf("%d SVIDs were answered to %d requests", len(response.GetSvids()), len(drafts))
	}
	var failures error
	for i, issued := range response.GetSvids() {
		if err := k.take(drafts[i], issued); err != nil {
			failures = errors.Join(failures, fmt.Errorf("%s: %w", drafts[i].placement.GetName(), err))
		}
	}
	return failures
}

// take over what was issued: to disk first.
func (k *Keeper) take(d *draft, issued *sitev1.IssuedSvid) error {
	if issued.GetRefused() != "" {
		return errors.New(issued.GetRefused())
	}
	bundle := k.Site.Bundle()
	s, err := d.accept(issued.GetSvid(), bundle)
	if err != nil {
		return fmt.Errorf("what was issued is not usable: %w", err)
	}
	ca := issuer(s, bundle)
	if ca == nil {
		return errors.New("what was issued names no CA that counts")
	}
	of := keyOf(d.placement)
	err = k.Site.Gate().Take(ca, func() error {
		encoded, err := s.encode(d.placement)
		if err != nil {
			return err
		}
		if err := k.Seal.WriteFile(k.Env.FS, k.path(of), encoded); err != nil {
			return err
		}
		k.put(of, s)
		return nil
	})
	if err == nil && k.look().due(d.placement, s) > 0 {
		delete(k.attempts, of) // it lasts: asking went well
	}
	return err
}
