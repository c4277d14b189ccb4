package config

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever stands in the file: it is refused, or the ports and folders are such
// that an agent can use them.
func FuzzLoad(f *testing.F) {
	f.Add("name: node-1\nport: 7600\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if err == nil && (c.Port < 1 || c.Port > 65535 || !filepath.IsAbs(c.StateDir)) {
			t.Errorf("it was taken: %+v", c)
		}
	})
}
