package main

import (
	"strings"
	"testing"
	"unicode"

	"skerry.dev/coordinator/backup"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// A backup that somebody else made is whole and signed, too: by voters of a site of
// their own.
func TestWhatABackupSaysOfItselfMovesNoCursor(t *testing.T) {
	const evil = "1.0\x1b[2J\u202e"
	text := describeBackup("b", &backup.File{Header: &sitev1.BackupHeader{
		Site: "harbour", Node: evil, Version: evil, Recipients: []*sitev1.BackupRecipient{{Name: evil}},
	}})
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
		t.Errorf("at %d of %q", i, text)
	}
	if !strings.Contains(text, "harbour") || !strings.Contains(text, "1.0") {
		t.Errorf("it says too little: %q", text)
	}
}
