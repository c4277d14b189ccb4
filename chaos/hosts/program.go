package hosts

import (
	"fmt"
	"os"
)

// Program tells why a file cannot be run, before anything is made for it.
func Program(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("there is no program to run: %w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is no program: it cannot be executed (%s)", path, info.Mode())
	}
	return nil
}
