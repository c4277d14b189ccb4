package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
	sealing "skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// rotateEvery is how often it is asked how far a rotation is.
const rotateEvery = 200 * time.Millisecond

type secretKeys struct {
	*app
	output outputFlag
	// out is where a recovery key goes; key is where it is read from.
	out, key string
}

func secretKeysCommand(a *app) *cobra.Command {
	o := &secretKeys{app: a}
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Who can open the site's key for secrets",
		Long: `Keys lists the versions of the site's key for secrets and who can open each, and
says what to do.`,
		Example: "  skerry secret keys",
		Args:    Args(0, 0),
		RunE:    o.list,
	}
	o.output.add(cmd, false)
	return cmd
}

func (o *secretKeys) list(cmd *cobra.Command, _ []string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Secrets().SecretKeys, &skerryv1.SecretKeysRequest{})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		t := newTable("VERSION", "NODES", "RECOVERY KEYS", "AGE")
		for _, key := range answer.GetKeys() {
			var recovery []string
			for _, r := range answer.GetRecoveryKeys() {
				if len(key.GetRecovery()[r.GetName()]) > 0 {
					recovery = append(recovery, r.GetName())
				}
			}
			t.row(fmt.Sprint(key.GetVersion()), orDash(joined(key.GetNodes())), orDash(joined(recovery)), o.since(key.GetCreated().AsTime()))
		}
		if err := t.write(o.Out, ""); err != nil {
			return err
		}
		return o.worry(answer)
	})
}

// worry tells on standard error what the operator should do.
func (o *secretKeys) worry(answer *skerryv1.SecretKeysResponse) error {
	text := ""
	switch {
	case len(answer.GetKeys()) == 0:
		text = "the site has no key for secrets yet: it makes one when its first voter has started"
	case !answer.GetOpen():
		text = "the coordinator cannot open the present version: skerry secret recover --key FILE"
	case len(answer.GetRecoveryKeys()) == 0:
		text = "there is no recovery key: when all voters are lost, so are the secrets in backups: skerry secret recovery-key create NAME"
	}
	if text == "" {
		return nil
	}
	_, err := fmt.Fprintln(o.Err, "! "+text)
	return err
}

func rotateKeyCommand(a *app) *cobra.Command {
	o := &secretKeys{app: a}
	cmd := &cobra.Command{
		Use:   "rotate-key",
		Short: "Make a new version of the site's key for secrets",
		Long: `Rotate-key makes a new key and puts the data keys of all secrets under it. Values
stay as they are: what somebody may have seen must be replaced where it comes
from. The site does this by itself when a voter is removed from it.`,
		Example: "  skerry secret rotate-key",
		Args:    Args(0, 0),
		RunE:    o.rotate,
	}
	return cmd
}

func (o *secretKeys) rotate(cmd *cobra.Command, _ []string) error {
	id, err := o.requestID()
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Secrets().RotateKey, &skerryv1.RotateKeyRequest{RequestId: id})
		if err != nil {
			return err
		}
		total := uint32(0)
		for last := uint32(0); ; {
			state, err := call(ctx, o.app, c.Secrets().SecretKeys, &skerryv1.SecretKeysRequest{})
			if err != nil {
				return err
			}
			if total == 0 {
				total = state.GetSecrets()
			}
			if state.GetBehind() == 0 {
				break
			}
			if state.GetBehind() != last {
				last = state.GetBehind()
				if _, err := fmt.Fprintf(o.Err, "%d of %s under version %d\n", total-min(total, last), plural(int(total), "secret"), answer.GetVersion()); err != nil {
					return err
				}
			}
			if err := env.Sleep(ctx, o.Clock, rotateEvery); err != nil {
				return problem.New(problem.Timeout, "secret key", "not under version %[2]d yet: %[1]s", plural(int(last), "secret"), answer.GetVersion()).
					WithHint("the site goes on by itself: skerry secret keys")
			}
		}
		_, err = fmt.Fprintf(o.Out, "the site's key for secrets is version %d; under it: %s\n", answer.GetVersion(), plural(int(total), "secret"))
		return err
	})
}

func recoveryKeyCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:   "recovery-key COMMAND",
		Short: "Keys outside of the site that can open its secrets",
	})
	group.AddCommand(recoveryCreateCommand(a), recoveryListCommand(a), recoveryDeleteCommand(a))
	return group
}

func recoveryCreateCommand(a *app) *cobra.Command {
	o := &secretKeys{app: a}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a recovery key",
		Long: `Create makes a key on this machine and tells the site its public half. Whoever
holds the key can open all secrets of the site and of its backups from now on:
keep it apart from both, on paper or on a stick in a safe.

It is printed once, or written to a new file that only you can read.`,
		Example: `  skerry secret recovery-key create safe-1 --out /media/stick/safe-1.key
  skerry secret recovery-key create safe-2`,
		Args: Args(1, 1),
		RunE: o.createRecovery,
	}
	cmd.Flags().StringVar(&o.out, "out", "", "write the key to this new `FILE`, 0600, and do not print it")
	return cmd
}

func (o *secretKeys) createRecovery(cmd *cobra.Command, args []string) error {
	recipient, err := sealing.NewRecipient(o.Rand)
	if err != nil {
		return err
	}
	id, err := o.requestID()
	if err != nil {
		return err
	}
	// The file comes first: a key that the site knows and nobody has is worse
	// than one that somebody has and the site does not know.
	if o.out != "" {
		if err := writeNew(o.out, recipient.Text()+"\n"); err != nil {
			return err
		}
	}
	err = o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		_, err := call(ctx, o.app, c.Secrets().AddRecoveryKey, &skerryv1.AddRecoveryKeyRequest{
			Name: args[0], PublicKey: recipient.Public(), RequestId: id,
		})
		return err
	})
	if err != nil {
		return errors.Join(err, o.takeBack(err))
	}
	if o.out != "" {
		_, err = fmt.Fprintf(o.Out, "recovery key %s is in %s\n", args[0], oneLine(o.out))
		return err
	}
	_, err = fmt.Fprintf(o.Out, "Recovery key %s, shown once:\n\n  %s\n", args[0], recipient.Text())
	return err
}

// takeBack removes the file with a key that the site refused, so that nobody
// takes it for one that opens anything. When it is not known what became of the
// key, the file stays.
func (o *secretKeys) takeBack(err error) error {
	switch problem.KindOf(err) {
	case problem.Invalid, problem.NotFound, problem.Conflict, problem.Exhausted, problem.Forbidden, problem.Unauthenticated:
		if o.out != "" {
			return os.Remove(o.out)
		}
	}
	return nil
}

// writeNew writes a file that there was not, for its owner alone.
func writeNew(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fileWriteProblem(name, err)
	}
	if _, err = file.WriteString(text); err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fileWriteProblem(name, err)
	}
	return nil
}

func fileWriteProblem(name string, err error) error {
	p := problem.New(problem.Invalid, name, "it cannot be written: %w", err)
	if errors.Is(err, fs.ErrExist) {
		return p.WithHint("name a file that is not there yet")
	}
	return p
}

func recoveryListCommand(a *app) *cobra.Command {
	o := &secretKeys{app: a}
	return &cobra.Command{
		Use:     "list",
		Short:   "List the recovery keys that the site knows",
		Long:    "List shows the recovery keys whose public halves the site knows.",
		Example: "  skerry secret recovery-key list",
		Args:    Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				answer, err := call(ctx, o.app, c.Secrets().SecretKeys, &skerryv1.SecretKeysRequest{})
				if err != nil {
					return err
				}
				t := newTable("NAME", "AGE")
				for _, key := range answer.GetRecoveryKeys() {
					t.row(key.GetName(), o.since(key.GetCreated().AsTime()))
				}
				return t.write(o.Out, "")
			})
		},
	}
}

func recoveryDeleteCommand(a *app) *cobra.Command {
	o := &secretKeys{app: a}
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Forget a recovery key",
		Long: `Delete forgets a recovery key and rotates the site's key for secrets, so that the
recovery key opens nothing new. Backups from before still open with it.`,
		Example: "  skerry secret recovery-key delete safe-1",
		Args:    Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := o.requestID()
			if err != nil {
				return err
			}
			return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				_, err := call(ctx, o.app, c.Secrets().RemoveRecoveryKey, &skerryv1.RemoveRecoveryKeyRequest{Name: args[0], RequestId: id})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(o.Out, "recovery key %s deleted\n", oneLine(args[0]))
				return err
			})
		},
	}
}

func recoverCommand(a *app) *cobra.Command {
	o := &secretKeys{app: a}
	cmd := &cobra.Command{
		Use:   "recover --key FILE",
		Short: "Give the site its key for secrets back",
		Long: `Recover opens the site's key with a recovery key, on this machine, and seals it to
the voters that the site has now. It is needed after a restore onto other
machines, when no voter can open the key any more.`,
		Example: `  skerry secret recover --key /media/stick/safe-1.key
  skerry secret recover --key -        type or paste the key`,
		Args: Args(0, 0),
		RunE: o.recover,
	}
	cmd.Flags().StringVar(&o.key, "key", "", "`FILE` that holds the recovery key, - for standard input")
	return cmd
}

func (o *secretKeys) recover(cmd *cobra.Command, _ []string) error {
	if o.key == "" {
		return usage(cmd, "there is no recovery key")
	}
	recipient, err := o.readRecovery()
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		state, err := call(ctx, o.app, c.Secrets().SecretKeys, &skerryv1.SecretKeysRequest{})
		if err != nil {
			return err
		}
		request, err := recovered(state, recipient)
		if err != nil {
			return err
		}
		if _, err := call(ctx, o.app, c.Secrets().RecoverSecrets, request); err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.Out, "the voters can open the site's key again, and with it %d secrets\n", state.GetSecrets())
		return err
	})
}

func (o *secretKeys) readRecovery() (*sealing.Recipient, error) {
	const longest = 4 << 10
	text, err := o.readBounded(o.key, longest)
	if err != nil {
		return nil, err
	}
	recipient, err := sealing.ParseText(string(text))
	if err != nil {
		return nil, problem.New(problem.Invalid, o.key, "%w", err)
	}
	return recipient, nil
}

// recovered opens all versions of the site's key and seals them to its voters.
func recovered(state *skerryv1.SecretKeysResponse, recipient *sealing.Recipient) (*skerryv1.RecoverSecretsRequest, error) {
	name := ""
	for _, key := range state.GetRecoveryKeys() {
		if bytes.Equal(key.GetPublicKey(), recipient.Public()) {
			name = key.GetName()
		}
	}
	if name == "" {
		return nil, problem.New(problem.NotFound, "recovery key", "the site does not know this key").
			WithHint("skerry secret recovery-key list shows which it knows")
	}
	request := &skerryv1.RecoverSecretsRequest{}
	for _, version := range state.GetKeys() {
		place := sealing.SiteKeyPlace(state.GetSiteId(), version.GetVersion(), "recovery", name)
		key, err := recipient.Open(place, version.GetRecovery()[name])
		if err != nil || !bytes.Equal(sealing.Check(key), version.GetCheck()) {
			return nil, problem.New(problem.Conflict, "recovery key "+name, "version %d of the site's key does not open with it", version.GetVersion())
		}
		for _, holder := range state.GetHolders() {
			sealed, err := sealing.SealTo(holder.GetPublicKey(), sealing.SiteKeyPlace(state.GetSiteId(), version.GetVersion(), "node", holder.GetNode()), key)
			if err != nil {
				return nil, problem.New(problem.Internal, "Node/"+holder.GetNode(), "%w", err)
			}
			request.Keys = append(request.Keys, &skerryv1.RecoveredKey{
				Version: version.GetVersion(), Node: holder.GetNode(), PublicKey: holder.GetPublicKey(), Sealed: sealed,
			})
		}
	}
	return request, nil
}
