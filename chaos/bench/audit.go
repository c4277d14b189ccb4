package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/chaos/hosts"
	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

const (
	auditEntries = 1_000_000
	auditRuns    = 6
	auditTime    = 5 * time.Second
	// withoutAudit ends the name of the binary that is built without leaves.
	withoutAudit = "-withoutaudit"
)

// auditCost measures what the audit log costs a write from the client's call to
// its answer: the same writes on two sites side by side, one of the binary and
// one of the same built without leaves, by turns. And how long an export of a
// million entries takes to verify.
func auditCost(ctx context.Context, binary, dir string) (result, error) {
	out := result{}
	for _, voters := range []int{1, 3} {
		measured, err := auditShare(ctx, binary, filepath.Join(dir, fmt.Sprint(voters)), voters)
		if err != nil {
			return nil, err
		}
		for name, value := range measured {
			if voters == 3 {
				name = "three_voters_" + name
			}
			out[name] = value
		}
	}
	seconds, err := verifyMany(dir)
	out["verify_s"], out["verify_entries"] = seconds, auditEntries
	return out, err
}

// auditSide is one of the two sites, and what its runs gave.
type auditSide struct {
	name        string
	rig         *hosts.Rig
	rates, cost []float64
}

// auditShare of the throughput, and of the processors, in percent.
func auditShare(ctx context.Context, binary, dir string, voters int) (result, error) {
	with, without := &auditSide{name: "with"}, &auditSide{name: "without"}
	for _, side := range []struct {
		*auditSide
		binary string
	}{{with, binary}, {without, binary + withoutAudit}} {
		r, err := namedSite(ctx, "b"+side.name, side.binary, filepath.Join(dir, side.name), voters)
		if err != nil {
			return nil, err
		}
		defer closeRig(r)
		side.rig = r
	}
	var shares, cpu []float64
	for n := range auditRuns + 1 {
		turn := []*auditSide{with, without}
		if n%2 == 1 {
			slices.Reverse(turn) // neither is always the first
		}
		for _, side := range turn {
			if err := side.run(ctx, n); err != nil {
				return nil, err
			}
		}
		if n == 0 {
			continue // the first one warms up
		}
		on, off := with.rates[n], without.rates[n]
		shares = append(shares, 100*(off-on)/off)
		cpu = append(cpu, 100*(with.cost[n]-without.cost[n])/without.cost[n])
		progress("%d voter(s), run %d: %.0f writes/s with, %.0f without audit; %.3f and %.3f s of processor for 1,000",
			voters, n, on, off, with.cost[n], without.cost[n])
	}
	out := summary(shares, "% of write throughput")
	out["cpu_median"] = summary(cpu, "")["median"]
	out["with_writes"], out["without_writes"] = summary(with.rates[1:], "")["median"], summary(without.rates[1:], "")["median"]
	return out, nil
}

// run writes for a while, and notes the rate and the processors' time of clients
// and agents for 1,000 writes.
func (s *auditSide) run(ctx context.Context, n int) error {
	before, err := cpuOf(s.rig)
	if err != nil {
		return err
	}
	latencies, err := writeFor(ctx, s.rig, auditTime, n)
	if err != nil {
		return err
	}
	after, err := cpuOf(s.rig)
	if err != nil {
		return err
	}
	s.rates = append(s.rates, float64(len(latencies))/auditTime.Seconds())
	s.cost = append(s.cost, after.since(before).perThousand(len(latencies)))
	return nil
}

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
