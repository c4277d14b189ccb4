package main

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
)

var update = flag.Bool("update", false, "write docs/cli.md")

const document = "../../../docs/cli.md"

func TestReferenceIsUpToDate(t *testing.T) {
	written := cli.Reference(newRoot(env.System{}))
	if *update {
		if err := os.WriteFile(document, []byte(written), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	present, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(present), written); diff != "" {
		t.Errorf("docs/cli.md is not up to date, run make generate:\n%s", diff)
	}
}
