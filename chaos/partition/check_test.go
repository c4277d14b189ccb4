package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestArgumentsAreCheckedBeforeASiteIsMade(t *testing.T) {
	dir := t.TempDir()
	program, text := filepath.Join(dir, "skerry"), filepath.Join(dir, "text")
	for file, mode := range map[string]os.FileMode{program: 0o700, text: 0o600} {
		if err := os.WriteFile(file, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		change func(*options)
		says   string
	}{
		"all is well":                    {func(*options) {}, ""},
		"no older binary, and none used": {func(o *options) { o.older, o.only = "", "sigkill" }, ""},
		"two hosts":                      {func(o *options) { o.hosts = 2 }, "-hosts 2"},
		"too many hosts":                 {func(o *options) { o.hosts = 91 }, "-hosts 91"},
		"no operations":                  {func(o *options) { o.rate = 0 }, "-rate 0"},
		"no injection":                   {func(o *options) { o.count = 0 }, "-count 0"},
		"nowhere to keep failures":       {func(o *options) { o.keep = "" }, "-keep"},
		"a binary that is elsewhere":     {func(o *options) { o.binary = "bin/skerry" }, "absolute"},
		"no binary":                      {func(o *options) { o.binary = filepath.Join(dir, "none") }, "no program to run"},
		"a binary that cannot be run":    {func(o *options) { o.binary = text }, "cannot be executed"},
		"no older binary":                {func(o *options) { o.older = "" }, "-older"},
		"a directory as older binary":    {func(o *options) { o.older = dir }, "-older"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options{binary: program, older: program, keep: dir, hosts: 5, rate: 200, count: 10}
			test.change(&o)
			chosen, err := choose(o.only)
			if err == nil {
				err = o.check(chosen)
			}
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("it says %v", err)
			}
		})
	}
}
