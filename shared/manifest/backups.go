package manifest

import (
	"path"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	minKept, maxKept = 1, 1000
	maxFolder        = 1024
)

// backupBounds of how often the site makes one.
var backupBounds = bounds{"24h", 5 * time.Minute, 30 * day}

// Backups that a site makes by itself.
type Backups struct {
	// Folder is empty when it makes none.
	Folder string
	Every  time.Duration
	Keep   int
}

// BackupsOf settings; what is missing or out of bounds is as by default.
func BackupsOf(s *skerryv1.Settings) Backups {
	given := s.GetBackups()
	b := Backups{Folder: given.GetFolder(), Every: backupBounds.of(given.GetEvery()), Keep: 14}
	if keep := given.GetKeep(); keep >= minKept && keep <= maxKept {
		b.Keep = int(keep)
	}
	return b
}

func (v *validator) backups(b *skerryv1.Backups) {
	if folder := b.GetFolder(); folder != "" && (!path.IsAbs(folder) || path.Clean(folder) != folder || len(folder) > maxFolder) {
		v.fail("backups.folder", "%s is not the absolute path of a folder", shorten(folder)).Hint = "such as /mnt/backup/skerry"
	}
	if b.GetEvery() != "" {
		v.lifetime("backups.every", b.GetEvery(), backupBounds)
	}
	if b.GetKeep() != 0 {
		v.between("backups.keep", b.GetKeep(), minKept, maxKept)
	}
}
