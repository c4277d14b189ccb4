package coordinator

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/backup"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// backupEvery is how often the coordinator looks whether a backup is due,
	// backupAgain how soon one that failed is tried again.
	backupEvery = time.Second
	backupAgain = time.Minute
	backupTime  = 5 * time.Minute
)

// keepBackups makes the site's own backups whenever this is the coordinator.
func (v *Voter) keepBackups(ctx context.Context) error {
	var tried time.Duration
	failed := false
	for {
		if err := env.Sleep(ctx, v.Env.Clock, backupEvery); err != nil {
			return err
		}
		view, now := v.store.View(), v.Env.Clock.Elapsed()
		if !v.node.Status().Serving || !view.BackupDue(v.stamp().Time) || (failed && now-tried < backupAgain) {
			continue
		}
		tried = now
		err := v.backUp(ctx, manifest.BackupsOf(view.Settings()))
		if failed = err != nil; failed && ctx.Err() == nil {
			v.Logger.Warn("the backup of the site was not made", "error", err)
		}
	}
}

// backUp makes one backup and writes into the log what became of it; why it
// failed, when that is news.
func (v *Voter) backUp(ctx context.Context, settings manifest.Backups) error {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	record := &sitev1.RecordBackup{Node: v.Node, Folder: settings.Folder}
	made, err := v.backups.Keep(ctx, settings)
	record.Made = made
	if err != nil {
		record.Failed = err.Error()       // with what to do: status shows it to somebody who was not there
		known := v.store.View().Backups() // of a long reason it has the beginning
		if why := strings.TrimSuffix(known.GetFailed(), "…"); why != "" && strings.HasPrefix(record.Failed, why) && known.GetNode() == v.Node {
			return err
		}
	}
	_, perr := v.Propose(ctx, &sitev1.Entry{
		RequestId: v.newID(), Principal: "coordinator", Change: &sitev1.Entry_RecordBackup{RecordBackup: record},
	})
	if err == nil {
		err = perr
	}
	return err
}

// backups are made on this voter.
type backups struct {
	v *Voter
	// folder is held while something is done in the folder.
	folder chan struct{}
}

// Make implements api.Backups.
func (b *backups) Make(ctx context.Context) ([]byte, *skerryv1.Backup, error) {
	state, err := b.v.node.Encode(ctx)
	if err != nil {
		return nil, nil, err
	}
	snapshot := &sitev1.Snapshot{}
	if err := proto.Unmarshal(state, snapshot); err != nil {
		return nil, nil, err
	}
	content, err := b.content(state, snapshot.GetTrust())
	if err != nil {
		return nil, nil, err
	}
	header := b.header(snapshot)
	var out bytes.Buffer
	if err := backup.Write(&out, header, content, snapshot.GetRecoveryKeys(), b.v.AuditKey, b.v.Env.Rand); err != nil {
		return nil, nil, err
	}
	digest := sha256.Sum256(out.Bytes())
	return out.Bytes(), &skerryv1.Backup{
		Time: header.GetTime(), Index: header.GetIndex(), Size: uint64(out.Len()), Sha256: digest[:], Trust: uint64(len(snapshot.GetTrust())),
	}, nil
}

func (b *backups) header(snapshot *sitev1.Snapshot) *sitev1.BackupHeader {
	header := &sitev1.BackupHeader{
		Version: b.v.store.View().Node(b.v.Node).GetVersion(), Site: snapshot.GetSite(), SiteId: snapshot.GetSiteId(), Node: b.v.Node,
		Time: snapshot.GetTime(), SiteEpoch: snapshot.GetSiteEpoch(), Term: snapshot.GetAudit().GetTerm(), Index: snapshot.GetIndex(),
		Trust: snapshot.GetTrust(), AuditSize: snapshot.GetAudit().GetSize(),
	}
	newest := uint64(0)
	for _, c := range snapshot.GetAudit().GetCheckpoints() {
		if c.GetSize() > newest {
			newest, header.Checkpoint = c.GetSize(), c.GetNote()
		}
	}
	return header
}

// content is refused while this voter's keys are not in the chain of trust: what
// they sign would count nowhere.
func (b *backups) content(state []byte, trust []*sitev1.TrustVersion) (*sitev1.BackupContent, error) {
	view := b.v.store.View()
	bundle, err := b.v.bundle(view)
	if err == nil && bundle.Version() != uint64(len(trust)) { // it has grown since the state was taken
		bundle, err = certs.VerifyTrust(view.SiteID(), trust)
	}
	if err != nil {
		return nil, err
	}
	keys, err := audit.KeysOf(view.SiteID(), trust)
	if err != nil {
		return nil, err
	}
	authority := b.v.Authority()
	if authority == nil || !bundle.Has(authority.Certificate()) || !keys.Has(b.v.Node, b.v.AuditKey.Public().(ed25519.PublicKey)) {
		return nil, problem.New(problem.Unavailable, "backup", "the keys of %s are not in the chain of trust yet", b.v.Node).
			WithHint("they are added within seconds: try again")
	}
	key, err := x509.MarshalPKCS8PrivateKey(authority.Key())
	if err != nil {
		return nil, err
	}
	return &sitev1.BackupContent{State: state, AuthorityKey: key, Authority: authority.Certificate().Raw}, nil
}
