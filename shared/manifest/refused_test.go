package manifest

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"skerry.dev/shared/problem"
)

// TestRefused runs testdata/*.txt: a manifest, and below it what Parse says of
// it, one line a problem. `go test -rewrite` writes the answers anew.
func TestRefused(t *testing.T) {
	datadriven.Walk(t, "testdata/refused", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			input := strings.NewReplacer(`\t`, "\t", `\0`, "\x00").Replace(d.Input)
			resources, err := Parse("web.yaml", []byte(input))
			if err == nil {
				return "taken"
			}
			if resources != nil {
				t.Errorf("%s: resources were returned beside the error", d.Pos)
			}
			if kind := problem.KindOf(err); kind != problem.Invalid {
				t.Errorf("%s: the kind is %q, want %q", d.Pos, kind, problem.Invalid)
			}
			return strings.Join(lines(err), "\n")
		})
	})
}

func lines(err error) []string {
	var several interface{ Unwrap() []error }
	if !errors.As(err, &several) {
		return []string{err.Error()}
	}
	var out []string
	for _, part := range several.Unwrap() {
		out = append(out, part.Error())
	}
	return out
}
