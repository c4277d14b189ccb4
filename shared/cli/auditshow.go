package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

type auditShow struct {
	*app
	output outputFlag
}

func auditShowCommand(a *app) *cobra.Command {
	o := &auditShow{app: a}
	cmd := &cobra.Command{
		Use:   "show NUMBER",
		Short: "Show one entry, and prove that it is in the log",
		Long: `Show prints one entry of the audit log. It checks here, with the site ID of your
credentials, the proof that the entry is in the tree that a voter signed.`,
		Example: "  skerry audit show 1284",
		Args:    Args(1, 1),
		RunE:    o.run,
	}
	o.output.add(cmd, false)
	return cmd
}

func (o *auditShow) run(cmd *cobra.Command, args []string) error {
	number, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return usage(cmd, "%q is no number of an entry", args[0])
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Audit().ShowAudit, &skerryv1.ShowAuditRequest{Number: number})
		if err != nil {
			return err
		}
		proved := "not signed yet: no checkpoint covers it; ask again in a few seconds"
		if answer.GetCheckpoint() != "" {
			by, err := o.Audit.Entry(o.target, answer)
			if err != nil {
				return err
			}
			proved = "in the tree that " + by + " signed"
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		return o.print(answer.GetEntry(), proved)
	})
}

func (o *auditShow) print(e *skerryv1.AuditEntry, proved string) error {
	t := newTable("Number:", fmt.Sprint(e.GetNumber()))
	t.row("Time:", utc(e.GetTime().AsTime()))
	t.row("Epoch:", e.GetEpoch())
	t.row("Log index:", fmt.Sprint(e.GetIndex()))
	t.row("Principal:", e.GetPrincipal())
	t.row("From:", e.GetFrom())
	t.row("Verb:", e.GetVerb())
	t.row("Resources:", strings.Join(e.GetResources(), ", "))
	t.row("Result:", auditResult(e))
	t.row("Request ID:", e.GetRequestId())
	t.row("Digest:", hex.EncodeToString(e.GetDigest()))
	for _, r := range e.GetRefusals() {
		t.row("Refused:", fmt.Sprintf("%d times %s, %s, last from %s: %s", r.GetCount(), r.GetResource(), r.GetReason(), r.GetFrom(), r.GetMessage()))
	}
	if e.GetCommand() != "" {
		t.row("Command:", e.GetCommand())
		t.row("Terminal:", fmt.Sprint(e.GetTty()))
	}
	if e.GetWitness() != "" {
		t.row("Witness:", e.GetWitness())
	}
	if e.GetHappened() != nil {
		t.row("Happened:", utc(e.GetHappened().AsTime()))
	}
	for _, r := range e.GetReads() {
		t.row("Read:", fmt.Sprintf("%d times %s, last from %s", r.GetCount(), r.GetResource(), r.GetFrom()))
	}
	t.row("Proof:", proved)
	return t.write(o.Out, "")
}

func auditCheckpointCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint [FILE]",
		Short: "Get the newest signed checkpoint, to keep it elsewhere",
		Long: `Checkpoint prints the newest checkpoint that a voter signed, or writes it to a
file. Keep it outside the site: an export that was cut off at its end, or that
comes from a log that was rewritten, is found against it.`,
		Example: `  skerry audit checkpoint monday.checkpoint
  skerry audit verify june.audit --site-id ID --checkpoint monday.checkpoint`,
		Args: Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				answer, err := call(ctx, a, c.Audit().GetCheckpoint, &skerryv1.GetCheckpointRequest{})
				if err != nil {
					return err
				}
				if len(args) == 0 {
					_, err := fmt.Fprint(a.Out, answer.GetCheckpoint())
					return err
				}
				return keepFile(args[0], func(f fileWriter) error {
					_, err := f.Write([]byte(answer.GetCheckpoint()))
					return err
				})
			})
		},
	}
}
