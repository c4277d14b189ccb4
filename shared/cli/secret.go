package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

func secretCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "secret COMMAND",
		GroupID: GroupChange,
		Short:   "Secrets of workloads, and the key that they are under",
	})
	group.AddCommand(secretCreateCommand(a), secretRevealCommand(a), rotateKeyCommand(a), secretKeysCommand(a),
		recoveryKeyCommand(a), recoverCommand(a))
	return group
}

type secretCreate struct {
	reading
	literals, files []string
	labels          map[string]string
}

func secretCreateCommand(a *app) *cobra.Command {
	o := &secretCreate{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "create NAME (--from-literal KEY=VALUE | --from-file [KEY=]FILE)...",
		Short: "Make a secret, or give it new content",
		Long: `Create makes a secret of values and files, or replaces what is in it. The values
are encrypted by the coordinator before they are stored, and never shown again
but by skerry secret reveal.

A value on the command line is seen by others on this machine and kept by the
shell: prefer files. FILE is - for standard input.`,
		Example: `  skerry secret create db --from-file password=db.txt
  skerry secret create tls --from-file tls.crt --from-file tls.key -p shop
  pwgen 32 1 | skerry secret create api --from-file token=-`,
		Args: Args(1, 1),
		RunE: o.run,
	}
	o.addProject(cmd, "project `NAME` of the secret (default \"default\")")
	flags := cmd.Flags()
	flags.StringArrayVar(&o.literals, "from-literal", nil, "a value, `KEY=VALUE`; may be repeated")
	flags.StringArrayVar(&o.files, "from-file", nil, "a file with a value, `[KEY=]FILE`, the key by default the file's name; may be repeated")
	flags.StringToStringVarP(&o.labels, "label", "l", nil, "label of the secret, `KEY=VALUE`; may be repeated")
	return cmd
}

func (o *secretCreate) run(cmd *cobra.Command, args []string) error {
	secret := &skerryv1.Secret{
		Kind: "Secret", Name: args[0], Project: o.project, Labels: o.labels,
		StringData: map[string]string{}, Data: map[string]string{},
	}
	for _, literal := range o.literals {
		key, value, found := strings.Cut(literal, "=")
		if !found {
			return usage(cmd, "--from-literal is KEY=VALUE")
		}
		if _, twice := secret.StringData[key]; twice {
			return usage(cmd, "the key %s is given twice", key)
		}
		secret.StringData[key] = value
	}
	for _, file := range o.files {
		key, name, found := strings.Cut(file, "=")
		if !found {
			key, name = filepath.Base(file), file
		}
		if _, twice := secret.Data[key]; twice {
			return usage(cmd, "the key %s is given twice", key)
		}
		content, err := o.readValue(name)
		if err != nil {
			return err
		}
		secret.Data[key] = content
	}
	resource := manifest.Wrap(secret)
	manifest.Fill(resource)
	if err := manifest.Validate(resource); err != nil {
		return err
	}
	apply := &applyOptions{app: o.app}
	return apply.send(cmd, []*skerryv1.Resource{resource})
}

// readValue is the content of a file, in base64.
func (a *app) readValue(name string) (string, error) {
	content, err := a.readBounded(name, manifest.MaxSecretBytes)
	return base64.StdEncoding.EncodeToString(content), err
}

// readBounded reads a file, or standard input for -, of at most so many bytes.
func (a *app) readBounded(name string, limit int64) ([]byte, error) {
	in := a.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fileProblem(name, err)
		}
		defer func() { _ = file.Close() }() // opened for reading only
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fileProblem(name, err)
	}
	if int64(len(content)) > limit {
		return nil, problem.New(problem.Invalid, name, "it is larger than %d KiB", limit>>10)
	}
	return content, nil
}

// readFiles puts what the files that a resource names hold in the place of their
// names, which are relative to the manifest.
func (a *app) readFiles(source string, resource *skerryv1.Resource) error {
	if w := resource.GetWorkload(); w.GetVm() != nil {
		return a.readUserData(source, w)
	}
	return a.readSecretFiles(source, resource.GetSecret())
}

// readUserData takes `file:PATH` for what cloud-init gets.
func (a *app) readUserData(source string, w *skerryv1.Workload) error {
	name, ok := strings.CutPrefix(w.GetVm().GetCloudInit().GetUserData(), manifest.FileMark)
	if !ok {
		return nil
	}
	if !filepath.IsAbs(name) && source != "-" {
		name = filepath.Join(filepath.Dir(source), name)
	}
	content, err := a.readBounded(name, manifest.MaxUserData)
	if err != nil {
		return err
	}
	w.Vm.CloudInit.UserData = string(content)
	if err := manifest.Validate(manifest.Wrap(w)); err != nil {
		return problem.New(problem.Invalid, source, "%w", err)
	}
	return nil
}

func (a *app) readSecretFiles(source string, secret *skerryv1.Secret) error {
	if secret == nil {
		return nil
	}
	for key, name := range secret.GetFile() {
		if !filepath.IsAbs(name) && source != "-" {
			name = filepath.Join(filepath.Dir(source), name)
		}
		if name == "-" {
			return problem.New(problem.Invalid, source, "a value cannot come from standard input here").WithField("file." + key)
		}
		content, err := a.readValue(name)
		if err != nil {
			return err
		}
		if secret.Data == nil {
			secret.Data = map[string]string{}
		}
		secret.Data[key] = content
	}
	secret.File = nil
	return nil
}

type secretReveal struct{ reading }

func secretRevealCommand(a *app) *cobra.Command {
	o := &secretReveal{reading{app: a}}
	cmd := &cobra.Command{
		Use:   "reveal NAME KEY",
		Short: "Print one value of a secret",
		Long: `Reveal prints one value as it is, with nothing added. It asks for the right to
reveal, which reading a secret does not give, and it is recorded who did it.`,
		Example: `  skerry secret reveal db password
  skerry secret reveal tls tls.key -p shop > tls.key`,
		Args: Args(2, 2),
		RunE: o.run,
	}
	o.addProject(cmd, "project `NAME` of the secret (default \"default\")")
	return cmd
}

func (o *secretReveal) run(cmd *cobra.Command, args []string) error {
	id, err := o.requestID()
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Secrets().Reveal, &skerryv1.RevealRequest{
			Name: args[0], Key: args[1], Project: o.project, RequestId: id,
		})
		if err != nil {
			return err
		}
		_, err = o.Out.Write(answer.GetValue())
		return err
	})
}

func (r *reading) secretTable(resources []*skerryv1.Resource, wide bool) *table {
	headings := []string{"NAME", "PROJECT", "KEYS", "SIZE", "VERSION", "AGE"}
	if wide {
		headings = append(headings, "LABELS")
	}
	t := newTable(headings...)
	for _, resource := range resources {
		s := resource.GetSecret()
		total := int64(0)
		for _, k := range s.GetKeys() {
			total += int64(k.GetSize())
		}
		cells := []string{
			s.GetName(), s.GetProject(), fmt.Sprint(len(s.GetKeys())), size(total), fmt.Sprint(s.GetGeneration()), r.since(s.GetCreated().AsTime()),
		}
		if wide {
			cells = append(cells, pairs(s.GetLabels()))
		}
		t.row(cells...)
	}
	return t
}

func (o *describeOptions) secret(ctx context.Context, c *client.Client, s *skerryv1.Secret) error {
	f := &fields{}
	f.add("Secret", s.GetName())
	f.add("Project", s.GetProject())
	f.add("Version", fmt.Sprint(s.GetGeneration()))
	f.add("Labels", pairs(s.GetLabels()))
	f.add("Age", o.since(s.GetCreated().AsTime()))
	answer, err := call(ctx, o.app, c.Resources().List, &skerryv1.ListRequest{Kind: "Workload", Project: s.GetProject(), Stale: o.stale})
	if err != nil {
		return err
	}
	var users []string
	for _, resource := range sortResources(answer.GetResources()) {
		for _, use := range resource.GetWorkload().GetContainer().GetSecrets() {
			if use.GetSecret() == s.GetName() {
				users = append(users, resource.GetWorkload().GetName())
				break
			}
		}
	}
	f.add("Used by", orDash(joined(users)))
	if err := f.write(o.Out); err != nil {
		return err
	}
	t := newTable("KEY", "SIZE")
	for _, k := range s.GetKeys() {
		t.row(k.GetKey(), size(int64(k.GetSize())))
	}
	return section(o.Out, "Keys", t)
}

// secretUses says what a container gets of secrets.
func secretUses(all []*skerryv1.SecretUse) string {
	var texts []string
	for _, use := range all {
		text := use.GetSecret()
		if use.GetKey() != "" {
			text += "/" + use.GetKey()
		}
		if use.GetEnv() != "" {
			text += " as " + use.GetEnv()
		} else {
			text += " at " + use.GetPath()
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}
