package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/ledger"
	"skerry.dev/agent/reconcile"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// epochFile, beside the ledger, holds the site epoch that the audit log on this
// disk is of.
const epochFile = "audit-epoch"

// KeepAgain stores what the agent of a node needs to begin a site epoch: the state
// with its entry and, on a machine that is new to the site, a ledger that knows the
// nodes.
func KeepAgain(files env.FS, stateDir string, again *sitev1.BeginAgain, known *sitev1.Assignments, stamp sitetime.Stamp) error {
	dir := filepath.Join(stateDir, replicaDir)
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	encoded, err := proto.Marshal(again)
	if err != nil {
		return err
	}
	if known != nil {
		if err := seed(files, stateDir, known, stamp); err != nil {
			return err
		}
	}
	return files.WriteFile(filepath.Join(dir, againFile), encoded, 0o600)
}

// BeginsAgain tells whether KeepAgain has stored what begins this site epoch.
func BeginsAgain(files env.FS, stateDir string, epoch uint64) bool {
	again, err := loadAgain(files, stateDir)
	return err == nil && again.GetRecover().GetFrom().GetSiteEpoch() == epoch
}

func loadAgain(files env.FS, stateDir string) (*sitev1.BeginAgain, error) {
	path := filepath.Join(stateDir, replicaDir, againFile)
	encoded, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	again := &sitev1.BeginAgain{}
	if err == nil {
		err = proto.Unmarshal(encoded, again)
	}
	if err != nil {
		return nil, problem.New(problem.Internal, path, "what the site begins anew with cannot be read: %w", err)
	}
	return again, nil
}

// setEpochAside moves the audit log of an earlier site epoch out of the way: it
// may go further than the point at which the present one began. On the node that
// began it, it goes on. What the last replica of that time has left is kept.
func (r *replicas) setEpochAside(id uint64, init *sitev1.InitSite) error {
	// Orders of an epoch may be here before its version of the chain of trust.
	epoch, kept := max(r.identity.Bundle().SiteEpoch(), r.ledger.Current().GetOrder().GetSiteEpoch()), uint64(1)
	path := filepath.Join(r.Config.StateDir, "ledger", epochFile)
	encoded, err := r.Env.FS.ReadFile(path)
	if err == nil {
		kept, err = strconv.ParseUint(string(encoded), 10, 64)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if kept == epoch {
		return nil
	}
	dir := filepath.Join(r.Config.StateDir, auditDir)
	left, err := r.Env.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(left) > 0 && r.again.GetRecover().GetNode().GetRaftId() != id {
		if err := r.Env.FS.Rename(dir, fmt.Sprintf("%s-of-epoch-%d", dir, kept)); err != nil {
			return err
		}
	}
	if err := r.setReplicaAside(id, kept, init); err != nil {
		r.Logger.Warn("what the last replica of an earlier site epoch has left could not be set aside", "epoch", kept, "error", err)
	}
	return r.Env.FS.WriteFile(path, []byte(strconv.FormatUint(epoch, 10)), 0o600)
}

// fenced is the ledger for orders: those of a site epoch before the one that this
// node has learned of are refused, and those of one that began apart from it (SAFETY,
// rule 4).
type fenced struct {
	*ledger.Ledger
	identity *identity.Node
	// isHere tells of what moves whether it is this node's.
	isHere func(id string) bool
}

// Accept implements session.Ledger.
func (f fenced) Accept(orders *sitev1.Assignments) error {
	if epoch := f.identity.Bundle().SiteEpoch(); orders.GetOrder().GetSiteEpoch() < epoch {
		return problem.New(problem.Conflict, "orders", "they are of site epoch %d, and the site was recovered: it is in %d",
			orders.GetOrder().GetSiteEpoch(), epoch)
	}
	if err := f.identity.UpdateTrust(orders.GetTrust()); errors.Is(err, certs.ErrForked) {
		return problem.New(problem.Conflict, "orders", "they are not of the site that this node belongs to: %w", err)
	}
	return f.Ledger.Accept(orders)
}

// Holdings implements session.Ledger: what this node runs by orders of an earlier
// site epoch; nil when there was none since.
func (f fenced) Holdings() *sitev1.Holdings {
	orders, bundle := f.Current(), f.identity.Bundle()
	epoch := bundle.SiteEpoch()
	if orders.GetOrder().GetSiteEpoch() >= epoch || epoch <= 1 {
		return nil
	}
	holdings := &sitev1.Holdings{SiteEpoch: epoch, Recovery: bundle.RecoverID()}
	for _, p := range orders.GetPlacements() {
		if p.GetMigration() == nil || f.isHere(reconcile.InstanceID(p.GetProject(), p.GetName())) {
			holdings.Placements = append(holdings.Placements, p)
		}
	}
	return holdings
}

// recoveries implements localapi.Recovery.
type recoveries struct{ *Agent }

// Recovered learns of a site epoch from the chain of trust, and turns to its
// coordinator. Those that began apart from each other may have the same number: what a
// caller claims only its chain proves, and a fork that was proved is not fetched again.
func (r recoveries) Recovered(ctx context.Context, siteEpoch uint64, recovery []byte, address string) {
	if !r.follows(siteEpoch, recovery) && !r.identity.IsFork(recovery) {
		r.askWhy(ctx, address)
	}
	if r.follows(siteEpoch, recovery) && r.ledger.Current().GetOrder().GetSiteEpoch() < siteEpoch {
		r.session.Try(address)
	}
}

// follows tells whether this node believes a site epoch. Older versions tell its
// number alone.
func (r recoveries) follows(siteEpoch uint64, recovery []byte) bool {
	bundle := r.identity.Bundle()
	return bundle.SiteEpoch() >= siteEpoch && (len(recovery) == 0 || bundle.Recovered(recovery))
}

// Position of this node's replica, and whether the node reaches a coordinator: one
// without a replica may be the only one in reach that knows of it.
func (r recoveries) Position(ctx context.Context) *sitev1.PingResponse {
	bundle := r.identity.Bundle()
	response := &sitev1.PingResponse{SiteEpoch: bundle.SiteEpoch(), Recovery: bundle.RecoverID()}
	if active := r.replicas.active(); active != nil {
		response.LastTerm, response.LastIndex, response.Quorum = active.Position(ctx)
	}
	response.Opening = r.ledger.Current().GetRaftId() != 0 && response.GetLastIndex() == 0 && !r.replicas.gone()
	response.Quorum = response.Quorum || r.session.Coordinator() != ""
	return response
}
