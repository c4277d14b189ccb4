//go:build integration

package hosts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skerry.dev/agent/runtime/testimage"
)

// TestBadInput goes through the real command line and a real node.
func TestBadInput(t *testing.T) {
	r := newSite(t, 1, 1)
	minimal := func(more string) string {
		return "kind: Workload\nname: bad\ncontainer: {image: " + webImage + "}\n" + more
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, c := range map[string]struct{ manifest, want string }{
		"unknown field":        {minimal("replica: 2\n"), "replica"},
		"duplicate key":        {minimal("name: other\n"), "name"},
		"wrong type":           {minimal("replicas: many\n"), "replicas"},
		"too large":            {minimal("# " + strings.Repeat("x", 1<<20) + "\n"), "larger than 1024 KiB"},
		"alias bomb":           {bomb, ""},
		"bad name":             {strings.Replace(minimal(""), "bad", "Bad_Name", 1), "name"},
		"no image":             {"kind: Workload\nname: bad\ncontainer: {}\n", "image"},
		"unknown kind":         {"kind: Workloads\nname: bad\n", "kind"},
		"short lease":          {minimal("partition: {mode: exclusive, lease: 1s}\n"), "partition.lease"},
		"nonsense CPU":         {strings.Replace(minimal(""), "}", ", resources: {cpu: lots}}", 1), "cpu"},
		"port out of range":    {strings.Replace(minimal(""), "}", ", ports: [{name: http, port: 80000}]}", 1), "port"},
		"one good, one bad":    {strings.Replace(minimal(""), "bad", "good", 1) + "---\nkind: Workload\nname: bad\nreplicas: -1\n", "replicas"},
		"nothing at all":       {"", ""},
		"not YAML":             {"\x00\x01{{{", ""},
		"check of no port":     {minimal("health: {http: {port: web}}\n"), "health"},
		"capability unknown":   {strings.Replace(minimal(""), "}", ", addCapabilities: [CAP_EVERYTHING]}", 1), "apabilit"},
		"mount that is no dir": {strings.Replace(minimal(""), "}", ", mounts: [{target: relative, hostPath: /tmp}]}", 1), "mounts"},
	} {
		t.Run(name, func(t *testing.T) {
			text := refused(t, r, strings.NewReader(c.manifest), "apply", "-f", "-")
			if !strings.Contains(text, c.want) {
				t.Errorf("the refusal does not name %q: %s", c.want, text)
			}
		})
	}
	if out := skerry(t, r, nil, "get", "workloads", "-o", "name"); strings.TrimSpace(out) != "workload/web" {
		t.Errorf("something was applied: %q", out)
	}
}

func TestRefusedTokens(t *testing.T) {
	r := newSite(t, 1, 0)
	other, err := r.AddHost(t.Context(), "node-2", "zone-2")
	if err != nil {
		t.Fatal(err)
	}
	third, err := r.AddHost(t.Context(), "node-3", "zone-3")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*Host{other, third} {
		if err := h.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	token := strings.TrimSpace(skerry(t, r, nil, "token", "create", "--role", "node", "--quiet"))
	parts := strings.Split(token, ".")
	parts[2] = strings.Repeat("0", 64)
	join := func(h *Host, token string) error {
		_, err := h.Skerry(t.Context(), "join", token, r.Hosts[0].API(), "--config", h.Config())
		return err
	}
	expect := func(what string, err error, words ...string) {
		t.Helper()
		if err == nil {
			t.Fatalf("%s was accepted", what)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the refusal does not speak of %q: %v", what, word, err)
			}
		}
	}
	expect("the token of another site", join(other, strings.Join(parts, ".")), "site")
	expect("half a token", join(other, token[:len(token)-7]), "token", "hint")
	if err := join(other, token); err != nil {
		t.Fatal(err)
	}
	expect("a token that was used", join(third, token), "token")
	expect("a second join of the same node", join(other, token), "already")
}

func TestBadImages(t *testing.T) {
	r := newSite(t, 1, 0)
	var archive bytes.Buffer
	if err := testimage.WriteDockerArchive(&archive, webImage); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(archive.Bytes())
	for i := len(flipped) / 3; i < len(flipped)/3+2000; i++ {
		flipped[i] ^= 0x55
	}
	for name, content := range map[string][]byte{
		"truncated": archive.Bytes()[:archive.Len()/2],
		"damaged":   flipped,
		"no tar":    []byte("this is not a tar\n"),
	} {
		path := filepath.Join(r.Dir, "bad.tar")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		text := refused(t, r, nil, "image", "load", path)
		t.Logf("%s: %s", name, text)
		if out := skerry(t, r, nil, "get", "images", "-o", "name"); strings.TrimSpace(out) != "" {
			t.Errorf("%s: an image is there: %q", name, out)
		}
	}
	refused(t, r, nil, "image", "load", filepath.Join(r.Dir, "no-such.tar"))
}

func TestWhatFindsNoNodeSaysWhy(t *testing.T) {
	r := newSite(t, 1, 1)
	for name, c := range map[string]struct{ more, want string }{
		"no-image": {"container: {image: site.local/nothing:1}", "skerry image load"},
		"big":      {"container: {image: " + webImage + ", resources: {cpu: 900}}", "CPU"},
		"huge":     {"container: {image: " + webImage + ", resources: {memory: 8Ti}}", "memory"},
		"label":    {"container: {image: " + webImage + "}\nplace: {require: [{label: disk, in: [ssd]}]}", "disk"},
		"port":     {"container: {image: " + webImage + ", ports: [{name: http, port: 80, hostPort: " + webPort + "}]}", "taken"},
	} {
		apply(t, r, "kind: Workload\nname: "+name+"\n"+c.more+"\n")
		await(t, r, "why "+name, patience, func(ctx context.Context) error {
			out, err := r.Skerry(ctx, nil, "why", name)
			if err == nil && !strings.Contains(out, c.want) {
				err = fmt.Errorf("it does not speak of %q:\n%s", c.want, out)
			}
			return err
		})
	}
}
