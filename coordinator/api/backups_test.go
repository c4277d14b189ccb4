package api

import (
	"context"
	"testing"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// failing backups count how often one was begun.
type failing struct {
	Backups
	begun int
}

func (f *failing) Make(context.Context) ([]byte, *skerryv1.Backup, error) {
	f.begun++
	return nil, nil, problem.New(problem.Internal, "backup", "the disk is gone")
}

func TestBackupsInTheMakingAreBounded(t *testing.T) {
	s := newAPISite(t)
	made := &failing{}
	s.server.Backups = made
	b := backups{s.server, make(chan struct{}, maxMaking)}
	ask := connect.NewRequest(&skerryv1.CreateBackupRequest{Send: true})
	for range 2 * maxMaking { // one that fails makes room again
		if err := b.CreateBackup(t.Context(), ask, nil); problem.KindOf(err) != problem.Internal {
			t.Fatal(err)
		}
	}
	for range maxMaking {
		b.making <- struct{}{}
	}
	if err := b.CreateBackup(t.Context(), ask, nil); problem.KindOf(err) != problem.Exhausted || made.begun != 2*maxMaking {
		t.Errorf("one too many gave %v after %d were begun", err, made.begun)
	}
}
