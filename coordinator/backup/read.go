package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// maxContent bounds what is held in memory.
const maxContent = 2 << 30

// File is a backup that was read to its end and is whole.
type File struct {
	Header *sitev1.BackupHeader
	// Content is nil unless it was opened.
	Content *sitev1.BackupContent
	// OpenedWith is the name of the recovery key.
	OpenedWith string
	Size       uint64
}

// Read a backup and check all of it: that nothing is missing, that nothing has
// changed, and that a voter of the site that it names has signed it. With a
// recovery key it is opened, too; nil for none.
func Read(from io.Reader, recipient *envelope.Recipient) (*File, error) {
	in := &reader{from: from, hash: sha256.New()}
	if err := in.form(); err != nil {
		return nil, err
	}
	encoded, err := in.framed(maxHeader)
	if err != nil {
		return nil, broken(err)
	}
	file := &File{Header: &sitev1.BackupHeader{}}
	if err := proto.Unmarshal(encoded, file.Header); err != nil {
		return nil, broken(err)
	}
	bound := sha256.Sum256(encoded)
	var key []byte
	if recipient != nil {
		if key, file.OpenedWith, err = openKey(file.Header, recipient); err != nil {
			return nil, err
		}
	}
	content, err := in.content(key, bound[:])
	if err == nil {
		err = in.seal(file.Header)
	}
	if err != nil {
		return nil, broken(err)
	}
	file.Size = in.size
	if key == nil {
		return file, nil
	}
	file.Content = &sitev1.BackupContent{}
	if err := proto.Unmarshal(content, file.Content); err != nil {
		return nil, broken(err)
	}
	return file, nil
}

func broken(err error) error {
	if problem.KindOf(err) != problem.Internal {
		return err
	}
	return problem.New(problem.Conflict, "backup", "it is damaged, or somebody has changed it: %w", err).
		WithHint("use another one: skerry backup verify tells which are whole")
}

// openKey opens the backup's key with a recovery key.
func openKey(header *sitev1.BackupHeader, recipient *envelope.Recipient) ([]byte, string, error) {
	var names []string
	for _, r := range header.GetRecipients() {
		names = append(names, fmt.Sprintf("%.64q", r.GetName()))
		if !bytes.Equal(r.GetPublicKey(), recipient.Public()) {
			continue
		}
		key, err := recipient.Open(keyPlace(header, r.GetName()), r.GetSealed())
		if err != nil {
			return nil, "", broken(err)
		}
		return key, r.GetName(), nil
	}
	return nil, "", problem.New(problem.Forbidden, "backup", "it does not open with this recovery key, only with: %s", strings.Join(names, ", "))
}

// reader reads frames and keeps the digest of what was read.
type reader struct {
	from io.Reader
	hash hash.Hash
	size uint64
}

func (r *reader) read(p []byte) error {
	n, err := io.ReadFull(r.from, p)
	r.size += uint64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it ends after %d bytes, before its end", r.size)
	}
	return err
}

// form checks how the file begins.
func (r *reader) form() error {
	begins := make([]byte, len(form))
	err := r.read(begins)
	if err != nil || !strings.HasPrefix(string(begins), formName) {
		return problem.New(problem.Invalid, "backup", "it is no backup of a site")
	}
	if string(begins) != form {
		return problem.New(problem.Conflict, "backup", "it has another form than this version of Skerry reads").
			WithHint("use the version that made it, or one of the same major version")
	}
	r.hash.Write(begins) // it never fails
	return nil
}

// framed reads what lies behind its length, and adds both to the digest.
func (r *reader) framed(most uint32) ([]byte, error) {
	var length [4]byte
	if err := r.read(length[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > most {
		return nil, fmt.Errorf("after %d bytes a part of %d bytes would begin", r.size, size)
	}
	// What is announced and does not come takes no room.
	var all bytes.Buffer
	n, err := io.CopyN(&all, r.from, int64(size))
	r.size += uint64(n)
	if err != nil {
		return nil, fmt.Errorf("it ends after %d bytes, before its end", r.size)
	}
	r.hash.Write(length[:])
	r.hash.Write(all.Bytes())
	return all.Bytes(), nil
}

// content is opened when there is a key.
func (r *reader) content(key, bound []byte) ([]byte, error) {
	var all []byte
	for number := uint64(0); ; number++ {
		sealed, err := r.framed(partSize + overhead)
		if err != nil {
			return nil, err
		}
		ends := len(sealed) == overhead
		if key == nil {
			if ends {
				return nil, nil
			}
			continue
		}
		place := envelope.At(partPurpose, string(bound), number)
		if ends {
			place = envelope.At(endPurpose, string(bound), number)
		}
		part, err := envelope.Decrypt(key, place, sealed)
		if err != nil {
			return nil, err
		}
		if ends {
			return all, nil
		}
		if all = append(all, part...); len(all) > maxContent {
			return nil, fmt.Errorf("it holds more than %d bytes", maxContent)
		}
	}
}

// seal checks the end of the file, and that a voter has signed it.
func (r *reader) seal(header *sitev1.BackupHeader) error {
	digest := r.hash.Sum(nil)
	encoded, err := r.framed(maxSeal)
	if err != nil {
		return err
	}
	seal := &sitev1.BackupSeal{}
	if err := proto.Unmarshal(encoded, seal); err != nil {
		return err
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(seal)
	if err != nil || !bytes.Equal(again, encoded) || len(seal.ProtoReflect().GetUnknown()) > 0 {
		return errors.New("its end is written in another way than it was signed")
	}
	if !bytes.Equal(seal.GetDigest(), digest) {
		return errors.New("its digest is not that of what is in it")
	}
	if n, err := io.CopyN(io.Discard, r.from, 1); n > 0 || !errors.Is(err, io.EOF) {
		return errors.New("something follows after its end")
	}
	bundle, err := certs.VerifyTrust(header.GetSiteId(), header.GetTrust())
	if err != nil {
		return err
	}
	if bundle.Site() != header.GetSite() {
		return fmt.Errorf("it says that it is of site %.80q, its chain of trust is that of %q", header.GetSite(), bundle.Site())
	}
	keys, err := audit.KeysOf(header.GetSiteId(), header.GetTrust())
	if err != nil {
		return err
	}
	if !keys.Signed(header.GetNode(), signed(digest), seal.GetSignature()) {
		return fmt.Errorf("no key of %.80q has signed it", header.GetNode())
	}
	return nil
}
