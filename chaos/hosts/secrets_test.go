//go:build integration

package hosts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"skerry.dev/agent/ledger"
	"skerry.dev/shared/env"
)

const (
	firstSecret  = "correct-horse-battery-staple-1"
	secondSecret = "purple-monkey-dishwasher-2"
)

const withSecret = `
kind: Workload
name: web
replicas: 1
container:
  image: %s
  ports: [{name: http, port: 8080}]
  resources: {cpu: 50m, memory: 64Mi}
  secrets:
  - {secret: db, path: /run/secrets/db}
  - {secret: db, key: password, env: DB_PASSWORD}
health: {http: {port: http, path: /healthz}, interval: 500ms}
stopGrace: 0s
`

// TestSecretsReachTheirContainersAndNothingElse: nor any disk, log or answer,
// also after a rotation, and after a power cut everywhere with nobody to ask.
func TestSecretsReachTheirContainersAndNothingElse(t *testing.T) {
	r := newSite(t, 3, 0)
	loadImage(t, r, "web.tar", webImage)
	if out := refused(t, r, strings.NewReader(fmt.Sprintf(withSecret, webImage)), "apply", "-f", "-"); !strings.Contains(out, "there is no secret db") {
		t.Errorf("without its secret the workload was refused with %q", out)
	}
	setSecret(t, r, firstSecret)
	apply(t, r, fmt.Sprintf(withSecret, webImage))
	placed := awaitHealthy(t, r, "web", 1)
	home := r.Host(placed[0].GetNode())
	if got := skerry(t, r, nil, "exec", placed[0].GetName(), "--", "cat", "/run/secrets/db/password"); got != firstSecret {
		t.Errorf("the file holds %q", got)
	}
	if got := skerry(t, r, nil, "exec", placed[0].GetName(), "--", "sh", "-c", "tr '\\0' '\\n' </proc/1/environ"); !strings.Contains(got, "DB_PASSWORD="+firstSecret+"\n") {
		t.Errorf("its environment is %q", got)
	}
	for _, h := range r.Hosts {
		if named := secretsIn(t, h); (len(named) > 0) != (h == home) {
			t.Errorf("the ledger of %s names %v; the container is on %s", h.Name, named, home.Name)
		}
	}
	wantNoSecret(t, r)

	setSecret(t, r, secondSecret)
	await(t, r, "the changed file", patience, func(ctx context.Context) error {
		got, err := r.Skerry(ctx, nil, "exec", placed[0].GetName(), "--", "cat", "/run/secrets/db/password")
		if err == nil && got != secondSecret {
			err = fmt.Errorf("it holds %q", got)
		}
		return err
	})
	key := filepath.Join(r.Dir, "safe.key")
	skerry(t, r, nil, "secret", "recovery-key", "create", "safe", "--out", key)
	if out := skerry(t, r, nil, "secret", "rotate-key"); !strings.Contains(out, "version 2") {
		t.Errorf("the rotation says %q", out)
	}
	if out := skerry(t, r, nil, "secret", "keys"); !strings.Contains(out, "node-1,node-2,node-3") || !strings.Contains(out, "safe") {
		t.Errorf("who can open the key: %s", out)
	}
	if got := skerry(t, r, nil, "secret", "reveal", "db", "password"); got != secondSecret {
		t.Errorf("it is revealed as %q", got)
	}
	if out := skerry(t, r, nil, "audit", "list", "--verb", "reveal"); !strings.Contains(out, "Secret/default/db") {
		t.Errorf("the audit log does not tell who read it: %s", out)
	}
	wantNoSecret(t, r)

	for _, h := range r.Hosts {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	if err := home.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := home.StartAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the secret on the node alone", patience, func(ctx context.Context) error {
		pids := containerPIDs(t, home)
		if len(pids) != 1 {
			return fmt.Errorf("containers: %v", pids)
		}
		_, pid, _ := strings.Cut(pids[0], "=")
		root := "/proc/" + pid
		got, err := home.Command(ctx, nil, "sh", "-c", "cat "+root+"/root/run/secrets/db/password; tr '\\0' '\\n' <"+root+"/environ")
		if err == nil && (!strings.HasPrefix(got, secondSecret) || !strings.Contains(got, "DB_PASSWORD="+secondSecret)) {
			err = fmt.Errorf("it holds %q", got)
		}
		return err
	})
	wantOnNoDisk(t, r)
}

// setSecret gives the secret db a password, from a file that is gone then.
func setSecret(t *testing.T, r *Rig, password string) {
	t.Helper()
	file := filepath.Join(r.Dir, "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	skerry(t, r, nil, "secret", "create", "db", "--from-file", file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

func secretsIn(t *testing.T, h *Host) []string {
	t.Helper()
	l, err := ledger.Open(env.NewSystem().FS, h.StateDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range l.Current().GetSecrets() {
		names = append(names, s.GetProject()+"/"+s.GetName())
	}
	return names
}

// wantNoSecret looks at everything that the site tells and stores.
func wantNoSecret(t *testing.T, r *Rig) {
	t.Helper()
	for _, command := range []string{
		"get secrets -o json", "get secret db -o yaml", "describe secret db", "get workload web -o json", "get placements -o json", "describe workload web",
		"get nodes -o json", "events --limit 4096 -o json", "status -o json", "secret keys -o json", "why web",
		"audit list --limit 1000 -o json",
	} {
		out := skerry(t, r, nil, strings.Fields(command)...)
		for _, secret := range []string{firstSecret, secondSecret} {
			if strings.Contains(out, secret) {
				t.Errorf("skerry %s tells a secret", command)
			}
		}
	}
	skerry(t, r, nil, "audit", "export", filepath.Join(r.Dir, "audit.export"))
	wantOnNoDisk(t, r)
	if err := os.Remove(filepath.Join(r.Dir, "audit.export")); err != nil {
		t.Fatal(err)
	}
}

// wantOnNoDisk looks into every file of every host: the log, snapshots, ledgers,
// what containerd keeps, what everybody logs.
func wantOnNoDisk(t *testing.T, r *Rig) {
	t.Helper()
	for _, secret := range []string{firstSecret, secondSecret} {
		if out, err := exec.Command("grep", "-rlaF", "--", secret, r.Dir).Output(); err == nil {
			t.Errorf("a secret is in the clear in\n%s", out)
		}
	}
}
