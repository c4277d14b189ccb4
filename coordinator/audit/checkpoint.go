package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxCheckpoint bounds what is parsed as a checkpoint, in bytes.
const maxCheckpoint = 4 << 10

// Checkpoint says what the tree was at a size: the body of a C2SP checkpoint.
type Checkpoint struct {
	// SiteID of the log.
	SiteID string
	Size   uint64
	Root   tlog.Hash
}

// originPrefix and the site ID are the checkpoint's first line.
const originPrefix = "skerry.dev/audit/"

func (c Checkpoint) text() string {
	return originPrefix + c.SiteID + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// KeyName is the name of a voter's key in signed notes.
func KeyName(site, node string) string { return site + "/" + node }

// Sign makes the signed note (C2SP signed-note, Ed25519).
func Sign(c Checkpoint, name string, key ed25519.PrivateKey) (string, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("the key is no Ed25519 key")
	}
	verifier, err := verifierOf(name, public)
	if err != nil {
		return "", err
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, signer{verifier, key})
	return string(signed), err
}

type signer struct {
	note.Verifier
	key ed25519.PrivateKey
}

// Sign implements note.Signer.
func (s signer) Sign(message []byte) ([]byte, error) { return ed25519.Sign(s.key, message), nil }

func verifierOf(name string, public ed25519.PublicKey) (note.Verifier, error) {
	key, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(key)
}

// OpenCheckpoint checks a signed note and returns what it says and the name of
// the key. It takes one signature, of a known key, in the one way to write it.
func OpenCheckpoint(text string, keys Keys) (Checkpoint, string, error) {
	if len(text) > maxCheckpoint {
		return Checkpoint{}, "", fmt.Errorf("a checkpoint of %d bytes is too long", len(text))
	}
	opened, err := note.Open([]byte(text), note.VerifierList(keys.verifiers...))
	if err != nil {
		var unknown *note.UnverifiedNoteError
		if errors.As(err, &unknown) {
			return Checkpoint{}, "", errors.New("no key of the site has signed the checkpoint")
		}
		return Checkpoint{}, "", err
	}
	if len(opened.Sigs) != 1 || len(opened.UnverifiedSigs) != 0 {
		return Checkpoint{}, "", errors.New("a checkpoint of this log has one signature")
	}
	c, err := parseCheckpoint(opened.Text)
	if err != nil {
		return Checkpoint{}, "", err
	}
	by := opened.Sigs[0]
	raw, err := base64.StdEncoding.Strict().DecodeString(by.Base64)
	if err != nil || c.text()+"\n— "+by.Name+" "+base64.StdEncoding.EncodeToString(raw)+"\n" != text {
		return Checkpoint{}, "", errors.New("the checkpoint was written in another way than it was signed")
	}
	return c, by.Name, nil
}

func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || !strings.HasPrefix(lines[0], originPrefix) {
		return Checkpoint{}, errors.New("it is no checkpoint of an audit log")
	}
	size, err := strconv.ParseUint(lines[1], 10, maxLevels)
	if err != nil {
		return Checkpoint{}, errors.New("the checkpoint's size is no number")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, errors.New("the checkpoint's root is no SHA-256")
	}
	c := Checkpoint{SiteID: strings.TrimPrefix(lines[0], originPrefix), Size: size, Root: tlog.Hash(root)}
	if c.text() != text {
		return Checkpoint{}, errors.New("the checkpoint is written in an unusual way")
	}
	return c, nil
}
