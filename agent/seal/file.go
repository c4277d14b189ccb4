package seal

import (
	"fmt"
	"path/filepath"

	"skerry.dev/shared/env"
)

// WriteFile seals plain into a file, durably. The file's base name is what it
// is sealed under.
func (s *Sealer) WriteFile(files env.FS, path string, plain []byte) error {
	sealed, err := s.Seal(filepath.Base(path), plain)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return files.WriteFile(path, sealed, 0o600)
}

// ReadFile opens a file that WriteFile wrote; errors.Is(err, fs.ErrNotExist)
// when there is none.
func (s *Sealer) ReadFile(files env.FS, path string) ([]byte, error) {
	sealed, err := files.ReadFile(path)
	if err != nil {
		return nil, err
	}
	plain, err := s.Open(filepath.Base(path), sealed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return plain, nil
}
