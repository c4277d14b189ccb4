package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skerry.dev/shared/problem"
)

func TestNodeAddress(t *testing.T) {
	for given, want := range map[string]string{
		"node-1":           "node-1:7600",
		"node-1:7700":      "node-1:7700",
		"192.0.2.1":        "192.0.2.1:7600",
		"2001:db8::1":      "[2001:db8::1]:7600",
		"[2001:db8::1]:80": "[2001:db8::1]:80",
	} {
		if got, err := nodeAddress(given); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", given, got, err, want)
		}
	}
	for _, given := range []string{"", ":7600", "node-1:", "https://node-1:7600", "me@node-1"} {
		if got, err := nodeAddress(given); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%q: %q %v", given, got, err)
		}
	}
}

func TestOneAgentAtMostUsesAStateDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if agentRuns(dir) {
		t.Fatal("an agent runs where there is none")
	}
	lock, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !agentRuns(dir) {
		t.Error("the agent that holds the lock does not show")
	}
	if _, err := lockState(dir); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "systemctl") {
		t.Errorf("a second agent got %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v %v", info, err)
	}
}
