package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestOnlyWhatWasFeltCounts(t *testing.T) {
	f := fault{sign: &sign{of: &hosts.Host{Name: "node-2"}, what: "DiskFull"}}
	for name, test := range map[string]struct {
		in   injection
		want verdict
		says string
	}{
		"felt under load":         {injection{Rate: 150}, passed, ""},
		"not felt":                {injection{Rate: 150, missed: true}, void, "node-2 never showed DiskFull"},
		"felt with nothing to do": {injection{Rate: 99}, void, "99 operations"},
	} {
		got := test.in.unharmed(f)
		if why := strings.Join(got.Why, "; "); got.Verdict != test.want || !strings.Contains(why, test.says) || test.says == "" && why != "" {
			t.Errorf("%s: %s, %q", name, got.Verdict, why)
		}
	}
}

func TestSigns(t *testing.T) {
	says := func(condition string) *skerryv1.Node {
		return &skerryv1.Node{RaftId: 7, Version: "new", Conditions: []*skerryv1.Condition{{Type: condition}}}
	}
	replica := t.TempDir()
	full, old, gaveUp := saysCondition(diskFullCondition), saysVersion("old"), givesUp(replica)
	for name, test := range map[string]struct {
		seen func(*skerryv1.Node) bool
		of   *skerryv1.Node
		want bool
	}{
		"a full disk":                     {full, says("DiskFull"), true},
		"another condition":               {full, says("GuardDown"), false},
		"the older binary":                {old, &skerryv1.Node{Version: "old"}, true},
		"still the newer one":             {old, says("DiskFull"), false},
		"nothing is known of the node":    {old, nil, false},
		"a replica that has halted":       {gaveUp, says("VoterHalted"), true},
		"the same replica goes on":        {gaveUp, says("DiskFull"), false},
		"nothing is known of its replica": {gaveUp, nil, false},
		"another replica in its place":    {gaveUp, &skerryv1.Node{RaftId: 8}, false},
	} {
		if got := test.seen(test.of); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if err := os.WriteFile(filepath.Join(replica, haltedFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !gaveUp(nil) {
		t.Error("a replica that has halted is not seen when its node says nothing")
	}
}

func TestTheVersionOfABinary(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "skerry")
	for says, want := range map[string]string{"skerry 4b2ab60 (go1.26.8, linux/amd64)": "4b2ab60", "": ""} {
		if err := os.WriteFile(binary, []byte("#!/bin/sh\necho '"+says+"'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if got, err := versionOf(t.Context(), binary); got != want || (err == nil) != (want != "") {
			t.Errorf("of %q: %q, %v", says, got, err)
		}
	}
}
