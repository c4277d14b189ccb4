package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Reference is docs/cli.md: every command below root that is not hidden, with
// its usage, flags and examples, and the exit codes. It depends on nothing but
// the tree, so that a test can tell whether the page is up to date.
func Reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Command line\n\nGenerated from the commands themselves. `skerry COMMAND --help` says the same.\n\n")
	b.WriteString(strings.TrimSpace(root.Long) + "\n")
	writeExamples(&b, root)
	b.WriteString("\n## Commands\n\n| command | what it does |\n|---|---|\n")
	commands := runnable(root)
	for _, cmd := range commands {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", cmd.CommandPath(), anchor(cmd.CommandPath()), cell(cmd.Short))
	}
	b.WriteString("\n## Flags of every command\n")
	writeFlags(&b, root.PersistentFlags())
	b.WriteString(exitCodeTable)
	for _, cmd := range commands {
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n```\n\n%s\n", cmd.CommandPath(), cmd.UseLine(), strings.TrimSpace(text(cmd)))
		writeFlags(&b, cmd.NonInheritedFlags())
		writeExamples(&b, cmd)
	}
	return b.String()
}

const exitCodeTable = `
## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | a fault of Skerry or of the machine |
| 2 | the request is wrong: repeating it cannot help |
| 3 | the named thing does not exist |
| 4 | the thing is not, or no longer, in the state asked for |
| 5 | a limit is reached |
| 6 | the caller may not do this, or could not be identified |
| 7 | not possible now, such as a change without a quorum: try later |
| 8 | there was no answer in time: look before you repeat a change |
| 130 | interrupted with Ctrl-C |

` + "`skerry exec` exits with the code of the command that it ran.\n" + `
## Completion of commands and names

` + "`skerry completion bash > /etc/bash_completion.d/skerry`, or `zsh` or `fish` in place of `bash`.\n"

// cobraOwn are the commands that cobra adds when a tree is executed.
var cobraOwn = map[string]bool{"help": true, "completion": true}

// runnable are the commands that do something, in the order of the help.
func runnable(cmd *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, child := range cmd.Commands() {
		switch {
		case !child.IsAvailableCommand() || cobraOwn[child.Name()]:
		case child.HasAvailableSubCommands():
			all = append(all, runnable(child)...)
		default:
			all = append(all, child)
		}
	}
	return all
}

func text(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return cmd.Long
	}
	return cmd.Short + "."
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	flags.SortFlags = true
	first := true
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" {
			return
		}
		if first {
			b.WriteString("\n| flag | what it is for |\n|---|---|\n")
			first = false
		}
		form, usage := flagForm(flag)
		fmt.Fprintf(b, "| `%s` | %s |\n", cell(form), cell(usage+flagDefault(flag)))
	})
}

func flagForm(flag *pflag.Flag) (form, usage string) {
	value, usage := pflag.UnquoteUsage(flag)
	form = "--" + flag.Name
	if flag.Shorthand != "" {
		form = "-" + flag.Shorthand + ", " + form
	}
	if value != "" {
		form += " " + value
	}
	return form, usage
}

func flagDefault(flag *pflag.Flag) string {
	switch flag.DefValue {
	case "", "0", "false", "[]":
		return ""
	}
	text := flag.DefValue
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return " (default " + text + ")"
}

func writeExamples(b *strings.Builder, cmd *cobra.Command) {
	if cmd.Example != "" {
		fmt.Fprintf(b, "\n```console\n%s\n```\n", dedent(cmd.Example))
	}
}

// dedent takes away the two spaces that the help wants.
func dedent(example string) string {
	lines := strings.Split(strings.TrimRight(example, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

func anchor(heading string) string { return strings.ReplaceAll(strings.ToLower(heading), " ", "-") }

// cell is text that does not end a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
