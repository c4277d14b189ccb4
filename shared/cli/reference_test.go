package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestReferenceOfACommand(t *testing.T) {
	root := New(Deps{Version: "1.2.3"})
	site := Group(&cobra.Command{Use: "site COMMAND", Short: "Sites"})
	initialise := &cobra.Command{
		Use: "init NAME", Short: "Make a site", Example: "  skerry site init harbour\n  skerry site init a|b",
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	initialise.Flags().StringP("zone", "z", "hall-a", "`ZONE` of the first|only node")
	initialise.Flags().Bool("witness", false, "vote, run nothing")
	secret := &cobra.Command{Use: "secret", Hidden: true, Run: func(*cobra.Command, []string) {}}
	site.AddCommand(initialise, secret)
	root.AddCommand(site)

	got := Reference(root)
	wantIn(t, got, "| [`skerry site init`](#skerry-site-init) | Make a site |\n", "| 7 | not possible now")
	_, rest, _ := strings.Cut(got, "\n## skerry site init\n")
	section, _, _ := strings.Cut(rest, "\n## ")
	want := "\n```\nskerry site init NAME [flags]\n```\n\nMake a site.\n\n" +
		"| flag | what it is for |\n|---|---|\n" +
		"| `--witness` | vote, run nothing |\n" +
		"| `-z, --zone ZONE` | ZONE of the first\\|only node (default hall-a) |\n\n" +
		"```console\nskerry site init harbour\nskerry site init a|b\n```\n"
	if diff := cmp.Diff(want, section); diff != "" {
		t.Errorf("section (-want +got):\n%s", diff)
	}
	if strings.Contains(got, "skerry site secret") {
		t.Error("a hidden command is shown")
	}
}

func TestEveryCommandIsExplainedInTheReference(t *testing.T) {
	for _, cmd := range runnable(New(Deps{Version: "1.2.3"})) {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s lacks a description or an example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len(line) > 90 {
				t.Errorf("%s: longer than a line of a terminal: %s", cmd.CommandPath(), line)
			}
		}
	}
}
