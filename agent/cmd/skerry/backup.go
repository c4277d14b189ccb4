package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/backup"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

func backupVerifyCommand() *cobra.Command {
	var keyFile, siteID string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a backup, on any machine, without the site",
		Long: `Verify reads a backup to its end and checks that nothing is missing and nothing has
changed, and that a voter of the site has signed it. It needs no network, no
credentials and no key. With a recovery key it opens the backup too, and says what
is in it.`,
		Example: `  skerry backup verify harbour.skerry-backup
  skerry backup verify harbour.skerry-backup --key /media/stick/safe-1.key`,
		Args: cli.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readBackup(args[0], keyFile)
			if err != nil {
				return err
			}
			if siteID != "" && siteID != file.Header.GetSiteId() {
				return problem.New(problem.Conflict, args[0], "it is of site %s, not of %.80s", file.Header.GetSiteId(), siteID)
			}
			cmd.Print(describeBackup(args[0], file))
			return describeContent(cmd, file)
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "`FILE` that holds a recovery key, to open it")
	cmd.Flags().StringVar(&siteID, "site-id", "", "the site's `ID`, as skerry status -o json tells it")
	return cmd
}

// readBackup reads all of a backup; without the name of a key it stays sealed.
func readBackup(name, keyFile string) (*backup.File, error) {
	var recipient *envelope.Recipient
	if keyFile != "" {
		var err error
		if recipient, err = readRecoveryKey(keyFile); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, problem.New(problem.Invalid, name, "it cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	file, err := backup.Read(f, recipient)
	if err != nil {
		return nil, about(name, err)
	}
	return file, nil
}

func readRecoveryKey(name string) (*envelope.Recipient, error) {
	const longest = 4 << 10
	info, err := os.Stat(name)
	if err == nil && info.Size() > longest {
		return nil, problem.New(problem.Invalid, name, "it is too long for a recovery key")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, problem.New(problem.Invalid, name, "it cannot be read: %w", err)
	}
	recipient, err := envelope.ParseText(string(text))
	if err != nil {
		return nil, problem.New(problem.Invalid, name, "%w", err)
	}
	return recipient, nil
}

// about names the file that an error is about.
func about(name string, err error) error {
	var p *problem.Error
	if !errors.As(err, &p) {
		return problem.New(problem.Internal, name, "%w", err)
	}
	named := *p
	named.Subject = name
	return &named
}

func describeBackup(name string, file *backup.File) string {
	h := file.Header
	var keys []string
	for _, r := range h.GetRecipients() {
		keys = append(keys, fmt.Sprintf("%.64q", r.GetName())) // whoever made the file wrote this
	}
	return fmt.Sprintf(`%s is whole: %d bytes, signed by %.80q
  site           %s, ID %s
  made           %s by Skerry %.80q
  state          epoch %d.%d, index %d, %d entries in the audit log
  recovery keys  %s
`, name, file.Size, h.GetNode(), h.GetSite(), h.GetSiteId(), h.GetTime().AsTime().Format(time.RFC3339), h.GetVersion(),
		h.GetSiteEpoch(), h.GetTerm(), h.GetIndex(), h.GetAuditSize(), strings.Join(keys, ", "))
}

func describeContent(cmd *cobra.Command, file *backup.File) error {
	if file.Content == nil {
		return nil
	}
	snapshot := &sitev1.Snapshot{}
	if err := proto.Unmarshal(file.Content.GetState(), snapshot); err != nil {
		return problem.New(problem.Conflict, "backup", "what is in it does not parse: %w", err)
	}
	cmd.Printf("it opens with %s: %d nodes, %d workloads, %d placements, %d secrets, %d operators\n", file.OpenedWith,
		len(snapshot.GetNodes()), len(snapshot.GetWorkloads()), len(snapshot.GetPlacements()), len(snapshot.GetSecrets()), len(snapshot.GetOperators()))
	return nil
}
