package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/audit/leafstore"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/pebblelog"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
)

const (
	auditEntries = 1_000_000
	auditRuns    = 5
	auditTime    = 3 * time.Second
)

// auditCost measures what the audit log costs on the way of a write through one
// real log with real fsync, without the API and TLS above it, whose cost would
// hide it; and how long an export of a million entries takes to verify.
func auditCost(ctx context.Context, _, dir string) (result, error) {
	var with, without, cost []float64
	for n := range auditRuns {
		off, err := logWrites(ctx, filepath.Join(dir, fmt.Sprint("off", n)), false)
		if err != nil {
			return nil, err
		}
		on, err := logWrites(ctx, filepath.Join(dir, fmt.Sprint("on", n)), true)
		if err != nil {
			return nil, err
		}
		progress("run %d: %.0f writes/s without, %.0f with audit", n, off, on)
		with, without, cost = append(with, on), append(without, off), append(cost, 100*(off-on)/off)
	}
	out := summary(cost, "% of write throughput")
	out["with_median"], out["without_median"] = summary(with, "")["median"], summary(without, "")["median"]
	seconds, err := verifyMany(dir)
	out["verify_s"], out["verify_entries"] = seconds, auditEntries
	return out, err
}

// logWrites is small writes a second through one replica.
func logWrites(ctx context.Context, dir string, audited bool) (float64, error) {
	system, quiet := env.NewSystem(), slog.New(slog.DiscardHandler)
	log, err := pebblelog.Open(vfs.Default, filepath.Join(dir, "raft"), quiet)
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }() // it is thrown away
	leaves, err := leafstore.Open(vfs.Default, filepath.Join(dir, "audit"), quiet)
	if err != nil {
		return 0, err
	}
	defer func() { _ = leaves.Close() }() // it is thrown away
	store := state.New()
	kept := &benchLeaves{store: leaves}
	if audited {
		store.OnLeaf(kept.take)
	} else {
		store.MeasureWithoutAudit()
	}
	if err := consensus.Bootstrap(log, 1, store); err != nil {
		return 0, err
	}
	replica, err := consensus.NewReplica(consensus.Config{
		ID: 1, Log: log, Machine: store, Kept: kept, Send: func([]*consensus.Message) {}, Logger: quiet,
	})
	if err != nil {
		return 0, err
	}
	if err := replica.Campaign(); err != nil {
		return 0, err
	}
	node := consensus.NewNode(replica, system.Clock, quiet)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	if err := beginSite(ctx, system, node); err != nil {
		return 0, err
	}
	return proposeFor(ctx, node, auditTime)
}

func beginSite(ctx context.Context, system env.System, node *consensus.Node) error {
	for !node.Status().Serving {
		if err := env.Sleep(ctx, system.Clock, 5*time.Millisecond); err != nil {
			return err
		}
	}
	authority, err := certs.NewAuthority(system.Rand, "harbour", "n1", time.Now())
	if err != nil {
		return err
	}
	trust, err := certs.FirstTrust("harbour", authority)
	if err != nil {
		return err
	}
	fingerprint := make([]byte, 32)
	outcome, err := node.Propose(ctx, &sitev1.Entry{RequestId: "init", Principal: "init", Time: timestamppb.Now(), Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "harbour", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: fingerprint,
		Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: fingerprint},
		Node:     &skerryv1.Node{Name: "n1", KeyFingerprint: fingerprint},
	}}})
	if err == nil && outcome.GetErrorKind() != "" {
		err = fmt.Errorf("the site was refused: %s", outcome.GetError())
	}
	return err
}

func proposeFor(ctx context.Context, node *consensus.Node, length time.Duration) (float64, error) {
	group, ctx := errgroup.WithContext(ctx)
	counts := make([]int, writeClients)
	end := time.Now().Add(length)
	for i := range writeClients {
		group.Go(func() error {
			for n := 0; time.Now().Before(end); n++ {
				asked := smallWrite(fmt.Sprintf("w-%d", i), fmt.Sprint(n))
				manifest.Default(asked.GetResources()[0].GetWorkload())
				outcome, err := node.Propose(ctx, &sitev1.Entry{
					RequestId: asked.GetRequestId(), Principal: "spiffe://harbour/operator/admin", From: "10.0.0.7", Time: timestamppb.Now(),
					Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{Resources: asked.GetResources()}},
				})
				if err == nil && outcome.GetErrorKind() != "" {
					err = fmt.Errorf("write refused: %s", outcome.GetError())
				}
				if err != nil {
					return err
				}
				counts[i]++
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / length.Seconds(), nil
}

// benchLeaves brings leaves to their store, as a voter does.
type benchLeaves struct {
	store   *leafstore.Store
	pending []audit.Leaf
}

func (k *benchLeaves) take(leaf audit.Leaf) { k.pending = append(k.pending, leaf) }

func (k *benchLeaves) Flush() error {
	err := k.store.Append(k.pending)
	k.pending = k.pending[:0]
	return err
}

func (k *benchLeaves) Sync() error { return k.store.Sync() }

// verifyMany is how long an export of auditEntries takes to verify, in seconds.
func verifyMany(dir string) (float64, error) {
	system := env.NewSystem()
	authority, err := certs.NewAuthority(system.Rand, "harbour", "n1", time.Now())
	if err != nil {
		return 0, err
	}
	first, err := certs.FirstTrust("harbour", authority)
	if err != nil {
		return 0, err
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	second, err := certs.ExtendTrust(first, authority, certs.TrustChange{
		AuditKeys: []*sitev1.AuditKey{{Node: "n1", Key: key.Public().(ed25519.PublicKey)}},
	})
	if err != nil {
		return 0, err
	}
	var tree audit.Frontier
	for n := range auditEntries {
		data, err := auditEntry(n)
		if err != nil {
			return 0, err
		}
		tree.Append(data)
	}
	id := certs.SiteID(first)
	text, err := audit.Sign(audit.Checkpoint{SiteID: id, Size: auditEntries, Root: tree.Root()}, audit.KeyName("harbour", "n1"), key)
	if err != nil {
		return 0, err
	}
	f, err := os.Create(filepath.Join(dir, "export"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // it is thrown away
	err = audit.WriteExport(f, &sitev1.ExportHeader{
		Site: "harbour", SiteId: id, Size: auditEntries, Trust: []*sitev1.TrustVersion{first, second}, Checkpoints: []string{text},
	}, func(put func([]byte) error) error {
		for n := range auditEntries {
			data, err := auditEntry(n)
			if err == nil {
				err = put(data)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	begun := time.Now()
	_, err = audit.VerifyExport(f, audit.Trusted{SiteID: id, Checkpoints: []string{text}})
	return time.Since(begun).Seconds(), err
}

func auditEntry(n int) ([]byte, error) {
	return audit.Encode(&skerryv1.AuditEntry{
		Number: uint64(n), Index: uint64(n + 2), Time: &timestamppb.Timestamp{Seconds: int64(n)}, Epoch: "1.2",
		Principal: "spiffe://harbour/operator/admin", From: "10.0.0.7", RequestId: fmt.Sprintf("%032d", n), Verb: "apply",
		Resources: []string{fmt.Sprintf("Workload/default/w-%d", n%16)}, Digest: make([]byte, 32), Result: "ok", Message: "configured",
	})
}
