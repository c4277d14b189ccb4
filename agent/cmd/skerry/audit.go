package main

import (
	"encoding/hex"
	"errors"
	"os"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// auditVerifier checks what came out of an audit log with the site ID of the
// operator's credentials, or one that is named.
type auditVerifier struct{ system env.System }

// SiteID implements cli.AuditVerifier.
func (v auditVerifier) SiteID(target cli.Target) (string, error) {
	home, err := operatorHome()
	if err != nil {
		return "", err
	}
	operator, err := identity.LoadOperator(v.system, home, target.Site)
	if err != nil {
		return "", err
	}
	return operator.Bundle().SiteID(), nil
}

// Entry implements cli.AuditVerifier.
func (v auditVerifier) Entry(target cli.Target, answer *skerryv1.ShowAuditResponse) (string, error) {
	siteID, err := v.SiteID(target)
	if err != nil {
		return "", err
	}
	var chain []*sitev1.TrustVersion
	for _, encoded := range answer.GetTrust() {
		version := &sitev1.TrustVersion{}
		if err := proto.Unmarshal(encoded, version); err != nil {
			return "", unproved(err)
		}
		chain = append(chain, version)
	}
	keys, err := audit.KeysOf(siteID, chain)
	if err != nil {
		return "", unproved(err)
	}
	checkpoint, by, err := audit.OpenCheckpoint(answer.GetCheckpoint(), keys)
	if err != nil {
		return "", unproved(err)
	}
	number := answer.GetEntry().GetNumber()
	told, err := audit.Decode(number, answer.GetLeaf())
	switch {
	case err != nil:
	case !proto.Equal(told, answer.GetEntry()):
		err = errors.New("what is shown is not what was hashed")
	case checkpoint.SiteID != certs.SiteID(chain[0]):
		err = errors.New("the checkpoint is that of another site")
	default:
		err = audit.CheckLeaf(answer.GetProof(), checkpoint.Size, checkpoint.Root, number, answer.GetLeaf())
	}
	if err != nil {
		return "", unproved(err)
	}
	return by, nil
}

func unproved(err error) error {
	return problem.New(problem.Conflict, "audit log", "the entry is not proved: %w", err).
		WithHint("do not believe it; ask another voter with --address, and export from each")
}

// Exports implements cli.AuditVerifier.
func (v auditVerifier) Exports(files []string, given cli.AuditTrust) ([]cli.AuditReport, error) {
	trusted := audit.Trusted{SiteID: given.SiteID, Checkpoints: given.Checkpoints}
	if given.Key != "" {
		key, err := audit.OneKey(given.Key)
		if err != nil {
			return nil, problem.New(problem.Invalid, "--key", "%w", err)
		}
		trusted.Key = &key
	}
	var all []cli.AuditReport
	var after *audit.Frontier
	kept := 0
	for i, name := range files {
		one := trusted
		if one.Continued = i < len(files)-1; one.Continued {
			one.Key = nil // it must have signed the last one
		}
		report, err := verifyFile(name, one)
		if err != nil {
			return nil, err
		}
		if after != nil && report.Before != *after {
			return nil, problem.New(problem.Conflict, name, "it does not continue %s", files[i-1]).
				WithHint("name the files in their order; one may be missing")
		}
		after = &report.After
		kept += report.Kept
		all = append(all, cli.AuditReport{
			File: name, Site: report.Site, SiteID: report.SiteID, First: report.First, Size: report.Size,
			Root: hex.EncodeToString(report.Root[:]), SignedBy: report.SignedBy, Kept: report.Kept, From: report.From, To: report.To,
		})
	}
	if kept < len(given.Checkpoints) {
		return nil, problem.New(problem.Invalid, files[len(files)-1], "a checkpoint that you brought is of entries before entry %d", all[len(all)-1].First).
			WithHint("verify it with the archive that holds those")
	}
	return all, nil
}

func verifyFile(name string, trusted audit.Trusted) (audit.Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return audit.Report{}, problem.New(problem.Invalid, name, "it cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	report, err := audit.VerifyExport(f, trusted)
	if err != nil {
		return audit.Report{}, problem.New(problem.Conflict, name, "do not believe it: %w", err).
			WithHint("compare with an export from another voter, and with the checkpoints that you keep")
	}
	return report, nil
}
