package cli

import (
	"context"
	"encoding/hex"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

func backupCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "backup COMMAND",
		GroupID: GroupSite,
		Short:   "Backups of the site: make one, list them, check one",
		Long: `A backup is one file with all that the site has written into its log: what it is
to run, its nodes, operators, policies, sealed secrets, its chain of trust, and
where its audit log stands. It opens with a recovery key alone
(skerry secret recovery-key create). It holds no images and no volumes.

The site makes backups by itself when kind: Settings names a folder
(backups.folder). skerry site restore begins the site anew from one.`,
	})
	group.AddCommand(backupCreateCommand(a), backupListCommand(a))
	return group
}

func backupCreateCommand(a *app) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "create [--to FILE]",
		Short: "Make a backup now",
		Long: `Create makes a backup of the site as it is now, into the folder that the settings
name, or with --to into a new file on this machine. It is in the audit log.`,
		Example: `  skerry backup create
  skerry backup create --to /media/stick/harbour.skerry-backup`,
		Args: Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("to") && to == "" {
				return usage(cmd, "--to names no file")
			}
			made, err := a.createBackup(cmd.Context(), to)
			if err != nil {
				return err
			}
			where := made.GetName()
			if to != "" {
				where = to
			}
			_, err = fmt.Fprintf(a.Out, "%s: backup of %s, %s, at index %d\n  sha256 %s\n", oneLine(where),
				utc(made.GetTime().AsTime()), size(int64(made.GetSize())), made.GetIndex(), hex.EncodeToString(made.GetSha256()))
			return err
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "write it to this new `FILE`, 0600, instead of the site's folder")
	return cmd
}

func (a *app) createBackup(ctx context.Context, to string) (made *skerryv1.Backup, err error) {
	id, err := a.requestID()
	if err != nil {
		return nil, err
	}
	err = a.unbounded(ctx, func(ctx context.Context, c *client.Client) error {
		if to == "" {
			made, err = receiveBackup(ctx, c, id, nil)
			return err
		}
		return keepFile(to, func(w fileWriter) error {
			made, err = receiveBackup(ctx, c, id, w)
			return err
		})
	})
	return made, err
}

// receiveBackup writes what comes into w; nil asks for one in the site's folder.
func receiveBackup(ctx context.Context, c *client.Client, id string, w fileWriter) (*skerryv1.Backup, error) {
	stream, err := c.Backups().CreateBackup(ctx, connect.NewRequest(&skerryv1.CreateBackupRequest{Send: w != nil, RequestId: id}))
	if err != nil {
		return nil, fromCall(err)
	}
	defer func() { _ = stream.Close() }() // read to its end, or given up
	var made *skerryv1.Backup
	for stream.Receive() {
		made = stream.Msg().GetBackup()
		if w == nil {
			continue
		}
		if _, err := w.Write(stream.Msg().GetData()); err != nil {
			return nil, problem.New(problem.Internal, "backup", "it cannot be written: %w", err)
		}
	}
	if err := fromCall(stream.Err()); err != nil {
		return nil, err
	}
	if made == nil {
		return nil, problem.New(problem.Unavailable, "backup", "it did not come to its end").WithHint("try again")
	}
	return made, nil
}

func backupListCommand(a *app) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the backups in the site's folder",
		Long: `List shows what lies in the folder that the settings name, as the coordinator sees
it, newest first, and says when backups fail.`,
		Example: "  skerry backup list",
		Args:    Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				answer, err := call(ctx, a, c.Backups().ListBackups, &skerryv1.ListBackupsRequest{})
				if err != nil {
					return err
				}
				if output.isData() {
					return output.write(a.Out, answer)
				}
				return a.printBackups(answer)
			})
		},
	}
	output.add(cmd, false)
	return cmd
}

func (a *app) printBackups(answer *skerryv1.ListBackupsResponse) error {
	if answer.GetFolder() == "" {
		_, err := fmt.Fprintln(a.Out, "the site makes no backups by itself: kind: Settings, backups.folder")
		return err
	}
	t := newTable("FILE", "MADE", "AGE", "INDEX")
	for _, b := range answer.GetBackups() {
		t.row(b.GetName(), utc(b.GetTime().AsTime()), a.since(b.GetTime().AsTime()), fmt.Sprint(b.GetIndex()))
	}
	if err := t.write(a.Out, ""); err != nil {
		return err
	}
	if len(answer.GetBackups()) == 0 {
		if _, err := fmt.Fprintf(a.Out, "there is none in %s on %s\n", oneLine(answer.GetFolder()), answer.GetNode()); err != nil {
			return err
		}
	}
	if answer.GetFailed() == "" {
		return nil
	}
	_, err := fmt.Fprintf(a.Err, "! backups fail since %s: %s\n", utc(answer.GetFailedSince().AsTime()), oneLine(answer.GetFailed()))
	return err
}
