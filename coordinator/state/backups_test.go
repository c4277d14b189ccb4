package state

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func backupEntry(record *sitev1.RecordBackup) *sitev1.Entry {
	return &sitev1.Entry{Principal: "coordinator", Change: &sitev1.Entry_RecordBackup{RecordBackup: record}}
}

func (s *site) backUpTo(folder string) {
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{Resources: []*skerryv1.Resource{
		{Kind: &skerryv1.Resource_Settings{Settings: &skerryv1.Settings{
			Kind: "Settings", Name: "site", Backups: &skerryv1.Backups{Folder: folder, Every: "1h"},
		}}},
	}}}})
}

func TestABackupIsDueAfterAWhileAndWhenTheChainOfTrustHasGrown(t *testing.T) {
	s := newSite(t, 1)
	due := func() bool { return s.store.View().BackupDue(s.store.View().Time().AsTime()) }
	if due() {
		t.Error("one is due without a folder")
	}
	s.backUpTo("/mnt/backup")
	if !due() {
		t.Error("the first one is not due")
	}
	made := func(trust int) {
		s.ok(backupEntry(&sitev1.RecordBackup{Node: "n1", Made: &skerryv1.Backup{Name: "/mnt/backup/1", Index: s.index, Trust: uint64(trust)}}))
	}
	all := len(s.store.View().Trust())
	made(all)
	if due() {
		t.Error("another one is due at once")
	}
	s.pass(time.Hour)
	if !due() {
		t.Error("none is due after an hour")
	}
	made(all - 1)
	if due() {
		t.Error("another one is due at once, though the chain of trust may still change")
	}
	s.pass(trustRest)
	if !due() {
		t.Error("none is due though the chain of trust has grown")
	}
}

func TestWhyBackupsFailIsKeptUntilOneIsMade(t *testing.T) {
	s := newSite(t, 1)
	s.backUpTo("/mnt/backup")
	s.ok(backupEntry(&sitev1.RecordBackup{Node: "n1", Made: &skerryv1.Backup{Name: "/mnt/backup/1", Index: 1}}))
	failed := func(why string) *sitev1.BackupState {
		s.ok(backupEntry(&sitev1.RecordBackup{Node: "n1", Folder: "/mnt/backup", Failed: why}))
		return s.store.View().Backups()
	}
	first := failed("it is full")
	s.pass(time.Minute)
	second := failed("it is gone")
	if second.GetFailed() != "it is gone" || !proto.Equal(first.GetFailedSince(), second.GetFailedSince()) || second.GetLast().GetIndex() != 1 {
		t.Errorf("it says %v, before %v", second, first)
	}
	s.restart()
	if !proto.Equal(s.store.View().Backups(), second) {
		t.Errorf("a restart gave %v", s.store.View().Backups())
	}
	s.ok(backupEntry(&sitev1.RecordBackup{Node: "n1", Made: &skerryv1.Backup{Index: 1}}))
	if s.store.View().Backups().GetFailed() == "" {
		t.Error("one that was sent to somebody counts as one in the folder")
	}
	s.ok(backupEntry(&sitev1.RecordBackup{Node: "n1", Made: &skerryv1.Backup{Name: "/mnt/backup/2", Index: 2}}))
	if got := s.store.View().Backups(); got.GetFailed() != "" || got.GetFailedSince() != nil {
		t.Errorf("it still says %v", got)
	}
	s.refused("invalid", backupEntry(&sitev1.RecordBackup{Made: &skerryv1.Backup{Name: "x", Index: s.index + 1000}}))
	s.refused("invalid", backupEntry(&sitev1.RecordBackup{}))
}
