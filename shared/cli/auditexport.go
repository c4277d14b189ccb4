package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// maxCheckpointFile bounds what is read as a checkpoint.
const maxCheckpointFile = 4 << 10

// fileWriter is a file that is being written.
type fileWriter interface{ io.Writer }

// keepFile writes a new file, whole and durably, or not at all.
func keepFile(name string, write func(fileWriter) error) (err error) {
	if _, err := os.Lstat(name); err == nil {
		return problem.New(problem.Conflict, name, "there is such a file already").WithHint("name another one, or move it away")
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return problem.New(problem.Invalid, name, "it cannot be written: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is the one to tell
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return problem.New(problem.Internal, name, "it cannot be written: %w", err)
	}
	// The name too must last over a power cut: the entries may be deleted elsewhere the
	// moment after.
	if err := env.NewSystem().FS.Rename(f.Name(), name); err != nil {
		return problem.New(problem.Internal, name, "it cannot be written so that it outlives a power cut: %w", err).WithHint("write it to another disk")
	}
	return nil
}

func auditExportCommand(a *app) *cobra.Command {
	var first uint64
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write the audit log into a file that proves itself",
		Long: `Export writes all entries that a signed checkpoint covers into a file, with the
proofs and the site's chain of trust. skerry audit verify checks it on any machine,
without network.`,
		Example: `  skerry audit export june.audit
  skerry audit verify june.audit --site-id $(skerry status -o json | jq -r .siteId)`,
		Args: Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			size, err := a.export(cmd.Context(), args[0], first)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "%s holds the audit log up to entry %d. Check it: skerry audit verify %s\n", args[0], int64(size)-1, args[0])
			return err
		},
	}
	cmd.Flags().Uint64Var(&first, "from", 0, "begin with entry `NUMBER` (default the first that was not archived)")
	return cmd
}

// export writes the file and returns the size of the tree that it ends with.
func (a *app) export(ctx context.Context, file string, first uint64) (size uint64, err error) {
	err = a.unbounded(ctx, func(ctx context.Context, c *client.Client) error {
		return keepFile(file, func(w fileWriter) error {
			stream, err := c.Audit().ExportAudit(ctx, connect.NewRequest(&skerryv1.ExportAuditRequest{First: first}))
			if err != nil {
				return fromCall(err)
			}
			defer func() { _ = stream.Close() }() // read to its end, or given up
			for stream.Receive() {
				size = stream.Msg().GetSize()
				if _, err := w.Write(stream.Msg().GetData()); err != nil {
					return problem.New(problem.Internal, file, "it cannot be written: %w", err)
				}
			}
			return fromCall(stream.Err())
		})
	})
	return size, err
}

type auditVerify struct {
	*app
	trust       AuditTrust
	checkpoints []string
	output      outputFlag
}

func auditVerifyCommand(a *app) *cobra.Command {
	o := &auditVerify{app: a}
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Check an export, on any machine, without network",
		Long: `Verify reads exports of an audit log and checks every entry, every hash and every
signature in them, from the site ID on. It needs no network and no credentials.
Several files, such as archives, must continue one another, in this order.

That entries are missing at the end is found only against a checkpoint that you
kept: --checkpoint.`,
		Example: `  skerry audit verify june.audit --site-id 6f1c... --checkpoint monday.checkpoint
  skerry audit verify 2025.audit 2026.audit --site-id 6f1c...`,
		Args: Args(1, -1),
		RunE: o.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.trust.SiteID, "site-id", "", "the site's `ID`, as skerry status -o json tells it (default that of your credentials)")
	flags.StringVar(&o.trust.Key, "key", "", "public `KEY` that must have signed the last checkpoint, NAME+HASH+KEY")
	flags.StringSliceVar(&o.checkpoints, "checkpoint", nil, "`FILE` with a checkpoint that you kept; may be repeated")
	o.output.add(cmd, false)
	return cmd
}

func (o *auditVerify) run(_ *cobra.Command, args []string) error {
	for _, name := range o.checkpoints {
		text, err := readSmall(name)
		if err != nil {
			return err
		}
		o.trust.Checkpoints = append(o.trust.Checkpoints, text)
	}
	if o.trust.SiteID == "" && o.trust.Key == "" {
		id, err := o.Audit.SiteID(o.target)
		if err != nil {
			return problem.New(problem.Invalid, "", "whose log should it be? There are no credentials here that tell").
				WithHint("--site-id ID, from skerry status -o json on a machine of the site")
		}
		o.trust.SiteID = id
	}
	reports, err := o.Audit.Exports(args, o.trust)
	if err != nil {
		return err
	}
	if o.output.isData() {
		encoded, err := json.Marshal(reports)
		if err != nil {
			return err
		}
		return o.output.writeJSON(o.Out, encoded)
	}
	held := 0
	for _, r := range reports {
		held += r.Kept
		_, err := fmt.Fprintf(o.Out, "%s: entries %d to %d of site %s belong together and are signed\n  %s to %s, signed by %s, root %s, checkpoints held: %d\n",
			r.File, r.First, int64(r.Size)-1, oneLine(r.Site), utc(r.From), utc(r.To), oneLine(r.SignedBy), r.Root, r.Kept)
		if err != nil {
			return err
		}
	}
	if held > 0 {
		_, err := fmt.Fprintln(o.Out, "complete and unchanged since the checkpoints that you brought")
		return err
	}
	_, err = fmt.Fprintln(o.Out, "no checkpoint was brought: that nothing is cut off at the end, and nothing was signed anew with a voter's stolen key, is not shown (--checkpoint FILE)")
	return err
}

func readSmall(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", problem.New(problem.Invalid, name, "it cannot be read: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCheckpointFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", problem.New(problem.Invalid, name, "it cannot be read: %w", err)
	}
	if len(text) > maxCheckpointFile {
		return "", problem.New(problem.Invalid, name, "it is too long for a checkpoint")
	}
	return string(text), nil
}

func auditArchiveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "archive FILE",
		Short: "Move the audit log into a file, and let the site forget what is in it",
		Long: `Archive exports the audit log, checks the file here, and only then lets the voters
delete the entries that are in it. What comes after stays provable, and continues
the archive. That it was archived is itself an entry. Nothing else ever deletes
entries: keep the file.`,
		Example: "  skerry audit archive 2026-h1.audit",
		Args:    Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			siteID, err := a.Audit.SiteID(a.target)
			if err != nil {
				return err
			}
			if _, err := a.export(cmd.Context(), args[0], 0); err != nil {
				return err
			}
			reports, err := a.Audit.Exports(args, AuditTrust{SiteID: siteID})
			if err != nil {
				return err
			}
			return a.archive(cmd, reports[0])
		},
	}
}

func (a *app) archive(cmd *cobra.Command, report AuditReport) error {
	root, err := hex.DecodeString(report.Root)
	if err != nil {
		return err
	}
	id, err := a.requestID()
	if err != nil {
		return err
	}
	return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		_, err := call(ctx, a, c.Audit().ArchiveAudit, &skerryv1.ArchiveAuditRequest{Size: report.Size, Root: root, RequestId: id})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Out, "Entries %d to %d are in %s, which was checked; the site deletes them. Keep the file.\n",
			report.First, int64(report.Size)-1, report.File)
		return err
	})
}
