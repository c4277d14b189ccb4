package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A night of pairs in a checkout of its own says nothing of each nemesis alone.
func TestPairsAloneReplaceNoReport(t *testing.T) {
	dir := t.TempDir()
	o := options{results: filepath.Join(dir, "results"), report: filepath.Join(dir, "report.md")}
	const before = "a report\n"
	if err := os.WriteFile(o.report, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		nemesis string
		written bool
	}{{"split+sigkill", false}, {"split", true}} {
		if err := addResult(o.results, injection{Nemesis: step.nemesis, Verdict: passed}); err != nil {
			t.Fatal(err)
		}
		if err := carryOut(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(o.report)
		if err != nil {
			t.Fatal(err)
		}
		if written := string(text) != before; written != step.written {
			t.Errorf("after %s it is written: %t", step.nemesis, written)
		}
		if step.written && !strings.Contains(string(text), "**2 injections: 2 passed, 0 failed, 0 void.**") {
			t.Errorf("it does not count both:\n%s", text)
		}
	}
}
