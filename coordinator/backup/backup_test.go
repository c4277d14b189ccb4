package backup

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// made is a backup and what belongs to it.
type made struct {
	file      []byte
	recipient *envelope.Recipient
	content   *sitev1.BackupContent
}

func newBackup(t testing.TB, size int) made {
	t.Helper()
	random := env.NewSystem().Rand
	authority, err := certs.NewAuthority(random, "harbour", "n1", time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	first, err := certs.FirstTrust("harbour", authority)
	if err != nil {
		t.Fatal(err)
	}
	signer := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	second, err := certs.ExtendTrust(first, authority, certs.TrustChange{
		AuditKeys: []*sitev1.AuditKey{{Node: "n1", Key: signer.Public().(ed25519.PublicKey)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := envelope.NewRecipient(random)
	if err != nil {
		t.Fatal(err)
	}
	header := &sitev1.BackupHeader{
		Site: "harbour", SiteId: certs.SiteID(first), Node: "n1", Index: 812, Trust: []*sitev1.TrustVersion{first, second},
	}
	content := &sitev1.BackupContent{State: bytes.Repeat([]byte("state"), size/5), AuthorityKey: []byte("key")}
	var out bytes.Buffer
	recovery := []*sitev1.RecoveryKey{{Name: "safe-1", PublicKey: recipient.Public()}}
	if err := Write(&out, header, content, recovery, signer, random); err != nil {
		t.Fatal(err)
	}
	return made{out.Bytes(), recipient, content}
}

func TestWhatWasBackedUpIsThere(t *testing.T) {
	for _, size := range []int{0, 100, partSize, 3*partSize + 5} {
		b := newBackup(t, size)
		sealed, err := Read(bytes.NewReader(b.file), nil)
		if err != nil || sealed.Content != nil || sealed.Header.GetIndex() != 812 || sealed.Size != uint64(len(b.file)) {
			t.Fatalf("%d bytes, sealed: %+v, %v", size, sealed, err)
		}
		opened, err := Read(bytes.NewReader(b.file), b.recipient)
		if err != nil || !proto.Equal(opened.Content, b.content) || opened.OpenedWith != "safe-1" {
			t.Fatalf("%d bytes, opened: %v", size, err)
		}
	}
}

func TestEveryBitAndEveryByteOfItCounts(t *testing.T) {
	b := newBackup(t, 200)
	for at := range b.file {
		bad := bytes.Clone(b.file)
		bad[at] ^= 1 << (at % 8)
		if _, err := Read(bytes.NewReader(bad), nil); err == nil {
			t.Errorf("bit %d of byte %d was changed, and nobody noticed", at%8, at)
		}
		if _, err := Read(bytes.NewReader(b.file[:at]), nil); err == nil {
			t.Errorf("it was cut after %d bytes, and nobody noticed", at)
		}
	}
	if _, err := Read(bytes.NewReader(append(b.file, 0)), nil); err == nil {
		t.Error("something was added, and nobody noticed")
	}
}

func TestRefusesToBeOpened(t *testing.T) {
	b := newBackup(t, 100)
	other, err := envelope.NewRecipient(env.NewSystem().Rand)
	if err != nil {
		t.Fatal(err)
	}
	later := append([]byte(formName+"2\n"), b.file[len(form):]...)
	for _, test := range []struct {
		name string
		file []byte
		key  *envelope.Recipient
		kind problem.Kind
		says string
	}{
		{"with another key", b.file, other, problem.Forbidden, `only with: "safe-1"`},
		{"of another form", later, b.recipient, problem.Conflict, "another form"},
		{"that is something else", []byte("PK\x03\x04 a zip of somebody's photographs"), nil, problem.Invalid, "no backup"},
		{"that is empty", nil, nil, problem.Invalid, "no backup"},
		{"that ends early", b.file[:len(b.file)-10], b.recipient, problem.Conflict, "before its end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(test.file), test.key)
			if problem.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it gave %v", err)
			}
		})
	}
}

func TestNobodyButAVoterMakesOne(t *testing.T) {
	b := newBackup(t, 100)
	file, err := Read(bytes.NewReader(b.file), nil)
	if err != nil {
		t.Fatal(err)
	}
	file.Header.Recipients = nil
	var out bytes.Buffer
	recovery := []*sitev1.RecoveryKey{{Name: "safe-1", PublicKey: b.recipient.Public()}}
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	if err := Write(&out, file.Header, b.content, recovery, stranger, env.NewSystem().Rand); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&out, b.recipient); err == nil || !strings.Contains(err.Error(), "no key of") {
		t.Errorf("it gave %v", err)
	}
	if err := Write(&out, file.Header, b.content, nil, stranger, env.NewSystem().Rand); problem.KindOf(err) != problem.Conflict {
		t.Errorf("without a recovery key it gave %v", err)
	}
}

func FuzzRead(f *testing.F) {
	b := newBackup(f, 100)
	f.Add(b.file)
	f.Add([]byte(form + "\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if _, err := Read(bytes.NewReader(file), b.recipient); err == nil && !bytes.Equal(file, b.file) {
			t.Error("something else was taken for the backup")
		}
	})
}
