package identity

import (
	"errors"
	"io/fs"
	"path/filepath"

	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// recipientFile holds the key to which the site seals what only this node may
// open: secrets of its placements and, on voters, the site's key for secrets.
const recipientFile = "recipient-key.pem"

// Recipient returns the sealing key of the node whose identity is in dir. It is
// made when there is none: what was sealed to an earlier one is sealed anew by
// the site.
func Recipient(files env.FS, rand env.Rand, dir string) (*envelope.Recipient, error) {
	path := filepath.Join(dir, recipientFile)
	encoded, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newRecipient(files, rand, path)
	}
	var recipient *envelope.Recipient
	if err == nil {
		recipient, err = envelope.ParsePEM(encoded)
	}
	if err != nil {
		return nil, problem.New(problem.Internal, path, "the key to which secrets are sealed cannot be read: %w", err).
			WithHint("restore it from a backup, or move the file away and start the agent again")
	}
	return recipient, nil
}

func newRecipient(files env.FS, rand env.Rand, path string) (*envelope.Recipient, error) {
	recipient, err := envelope.NewRecipient(rand)
	if err != nil {
		return nil, err
	}
	encoded, err := recipient.PEM()
	if err == nil {
		err = files.WriteFile(path, encoded, filePerm)
	}
	if err != nil {
		return nil, problem.New(problem.Internal, path, "the key to which secrets are sealed cannot be kept: %w", err)
	}
	return recipient, nil
}
