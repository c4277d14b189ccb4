package state

import (
	"fmt"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// maxPath bounds the name of a file.
	maxPath = 4096
	// trustRest is the shortest time between two backups, however often the chain
	// of trust changes.
	trustRest = 5 * time.Minute
)

// recordBackup notes that a backup was made, or why the site's own was not.
func (x *tx) recordBackup(change *sitev1.RecordBackup) (*sitev1.Outcome, error) {
	before := x.backups
	if change.GetFailed() != "" {
		since := before.GetFailedSince()
		if before.GetFailed() == "" {
			since = x.time
			x.warn(x.aboutSite(), "BackupFailed", "%s, for %s: %s", change.GetNode(), bounded(change.GetFolder(), maxPath), change.GetFailed())
		}
		x.setBackups(&sitev1.BackupState{
			Last: before.GetLast(), Failed: bounded(change.GetFailed(), maxMessage), Node: bounded(change.GetNode(), maxNodeName), FailedSince: since,
		})
		return &sitev1.Outcome{}, nil
	}
	made := change.GetMade()
	if made == nil || made.GetIndex() > x.index {
		return nil, problem.New(problem.Invalid, "backup", "it is of no state that there was")
	}
	if made.GetName() == "" {
		return &sitev1.Outcome{}, nil // somebody has it; the site does not
	}
	if before.GetFailed() != "" {
		x.inform(x.aboutSite(), "BackupMade", "backups are made again, by %s", change.GetNode())
	}
	x.setBackups(&sitev1.BackupState{Last: &skerryv1.Backup{
		Name: bounded(made.GetName(), maxPath), Time: x.time, Index: made.GetIndex(), Size: made.GetSize(),
		Sha256: made.GetSha256(), Trust: made.GetTrust(),
	}})
	return &sitev1.Outcome{}, nil
}

func (x *tx) setBackups(next *sitev1.BackupState) {
	if x.backups != nil {
		x.sum -= x.hash("backups", x.backups)
	}
	x.backups = next
	x.sum += x.hash("backups", next)
}

// moveBackups along with site time.
func (x *tx) moveBackups(by time.Duration) {
	if x.backups == nil {
		return
	}
	next := shallow(x.backups)
	next.FailedSince = moved(next.GetFailedSince(), by)
	if next.GetLast() != nil {
		next.Last = shallow(next.GetLast())
		next.Last.Time = moved(next.GetLast().GetTime(), by)
	}
	x.setBackups(next)
}

// Backups are the site's own, as far as the state knows; nil when there were
// none.
func (v *View) Backups() *sitev1.BackupState { return v.meta.backups }

// BackupDue tells whether the site is to make a backup now: it is time for one,
// or the last one ends with an older version of the chain of trust, whose CAs may
// sign no more.
func (v *View) BackupDue(now time.Time) bool {
	settings := manifest.BackupsOf(v.Settings())
	if settings.Folder == "" || v.SiteID() == "" {
		return false
	}
	last, rest := v.meta.backups.GetLast(), settings.Every
	if last.GetTrust() < uint64(len(v.meta.trust)) {
		rest = trustRest
	}
	return last == nil || !now.Before(last.GetTime().AsTime().Add(rest))
}

// describeBackup names the file, or why there is none.
func describeBackup(leaf *skerryv1.AuditEntry, change *sitev1.RecordBackup) {
	about(leaf, "backup", "Site")
	made := change.GetMade()
	switch {
	case change.GetFailed() != "":
		leaf.Message = bounded(fmt.Sprintf("it failed on %s: %s", change.GetNode(), change.GetFailed()), maxMessage)
	case made.GetName() == "":
		leaf.Message = fmt.Sprintf("of index %d, sent to who asked, sha256 %x", made.GetIndex(), made.GetSha256())
	default:
		leaf.Message = bounded(fmt.Sprintf("of index %d, on %s in %s, sha256 %x", made.GetIndex(), change.GetNode(), made.GetName(), made.GetSha256()), maxMessage)
	}
}
