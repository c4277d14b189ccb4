package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"skerry.dev/shared/problem"
)

// exitInterrupted is what shells use for a program that SIGINT ended.
const exitInterrupted = 130

// Main runs the command line, prints what went wrong to the root's error
// stream, and returns the exit code (docs/cli.md). When ctx ends, as on
// Ctrl-C, it is 130.
func Main(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	ran, err := root.ExecuteContextC(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	case ctx.Err() != nil && problem.KindOf(err) != problem.Invalid:
		return exitInterrupted
	}
	err = usageProblem(ran, err)
	printProblem(root.ErrOrStderr(), err)
	return problem.ExitCode(err)
}

// suggestionDistance is how many letters may be wrong in a command that is
// guessed.
const suggestionDistance = 2

// exitError passes on the exit code of a command that ran in a placement. All
// there is to say has been said by that command.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// printProblem prints each problem once, its hint below it.
func printProblem(w io.Writer, err error) {
	if err == nil {
		return
	}
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, part := range several.Unwrap() {
			printProblem(w, part)
		}
		return
	}
	// There is nobody left to tell when standard error is gone.
	_, _ = fmt.Fprintf(w, "skerry: %s\n", oneLine(withoutHint(err)))
	if hint := hintOf(err); hint != "" {
		_, _ = fmt.Fprintf(w, "  hint: %s\n", oneLine(hint))
	}
}

func hintOf(err error) string {
	var p *problem.Error
	if errors.As(err, &p) {
		return p.Hint
	}
	return ""
}

func withoutHint(err error) string {
	return strings.TrimSuffix(err.Error(), " ("+hintOf(err)+")")
}

// usageProblem turns cobra's own errors into problems of kind Invalid.
func usageProblem(ran *cobra.Command, err error) error {
	var p *problem.Error
	if errors.As(err, &p) {
		return err
	}
	text := err.Error()
	if rest, found := strings.CutPrefix(text, "unknown command "); found {
		if quoted, qerr := strconv.QuotedPrefix(rest); qerr == nil {
			if name, uerr := strconv.Unquote(quoted); uerr == nil {
				return unknownCommand(ran, name)
			}
		}
	}
	for _, prefix := range []string{"accepts ", "requires at least ", "required flag(s)", "if any flags in the group", "at least one of the flags"} {
		if strings.HasPrefix(text, prefix) {
			return usage(ran, "%s", text)
		}
	}
	return err
}

// unknownCommand names the commands that were probably meant.
func unknownCommand(parent *cobra.Command, name string) error {
	parent.SuggestionsMinimumDistance = suggestionDistance
	p := problem.New(problem.Invalid, "", "there is no command %q", parent.CommandPath()+" "+name)
	if near := parent.SuggestionsFor(name); len(near) > 0 {
		return p.WithHint("did you mean %s %s?", parent.CommandPath(), strings.Join(near, " or "))
	}
	return p.WithHint("%s --help lists the commands", parent.CommandPath())
}

// usage is a mistake in the command line.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return problem.New(problem.Invalid, "", format, args...).
		WithHint("usage: %s; more with --help", cmd.UseLine())
}

func flagProblem(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if number := (*strconv.NumError)(nil); errors.As(err, &invalid) && errors.As(err, &number) {
		return usage(cmd, "--%s takes %s, not %q", invalid.GetFlag().Name, numberText(invalid.GetFlag().Value.Type(), number), invalid.GetValue())
	}
	return usage(cmd, "%s", err.Error())
}

// numberText says which numbers a flag takes.
func numberText(kind string, wrong *strconv.NumError) string {
	switch {
	case errors.Is(wrong, strconv.ErrRange):
		return "a smaller number"
	case strings.HasPrefix(kind, "uint"):
		return "a whole number from 0 on"
	case strings.HasPrefix(kind, "int"):
		return "a whole number"
	case kind == "bool":
		return "true or false"
	default:
		return "a number"
	}
}

// Args refuses fewer than low or more than high arguments, with a hint that
// shows the usage. A negative high means any number.
func Args(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < low:
			return usage(cmd, "%s needed, %d given", plural(low, "argument"), len(args))
		case high >= 0 && len(args) > high:
			return usage(cmd, "unexpected argument %q", args[high])
		}
		return nil
	}
}

// Group makes a command of which only the commands below it do something.
func Group(cmd *cobra.Command) *cobra.Command {
	cmd.FParseErrWhitelist.UnknownFlags = true // they belong to the unknown command
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args[0])
	}
	return cmd
}

// AddTo adds a command to the group of this name.
func AddTo(root *cobra.Command, group string, cmd *cobra.Command) {
	for _, known := range root.Commands() {
		if known.Name() == group {
			known.AddCommand(cmd)
			return
		}
	}
	panic("there is no group " + group + " of commands")
}
