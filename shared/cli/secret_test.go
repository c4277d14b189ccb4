package cli

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// sentSecret is the one secret of the last apply.
func sentSecret(t *testing.T, site *fakeSite) *skerryv1.Secret {
	t.Helper()
	request, _ := site.asked().(*skerryv1.ApplyRequest)
	if len(request.GetResources()) != 1 {
		t.Fatalf("the site was asked %v", request)
	}
	return request.GetResources()[0].GetSecret()
}

func TestSecretCreateSendsLiteralsAndFiles(t *testing.T) {
	site, file := harbour(), writeFile(t, filepath.Join(t.TempDir(), "tls.key"), "line\n\x00\xff")
	if code := new(run).main(t, site, "secret", "create", "db", "-p", "shop", "--from-literal", "user=a=b", "--from-file", file, "--from-file", "pin="+file); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("line\n\x00\xff"))
	wantProto(t, sentSecret(t, site), &skerryv1.Secret{
		Kind: "Secret", Name: "db", Project: "shop",
		StringData: map[string]string{"user": "a=b"}, Data: map[string]string{"tls.key": encoded, "pin": encoded},
	})
}

func TestApplyReadsTheFilesOfASecretBesideTheManifest(t *testing.T) {
	dir, site := t.TempDir(), harbour()
	writeFile(t, filepath.Join(dir, "db.txt"), "hunter2")
	file := writeFile(t, filepath.Join(dir, "db.yaml"), "kind: Secret\nname: db\nfile: {password: db.txt}\n")
	if code := new(run).main(t, site, "apply", "-f", file); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	wantProto(t, sentSecret(t, site), &skerryv1.Secret{
		Kind: "Secret", Name: "db", Project: "default", Data: map[string]string{"password": base64.StdEncoding.EncodeToString([]byte("hunter2"))},
	})
}

func TestSecretsThatTheCommandLineRefuses(t *testing.T) {
	large := writeFile(t, filepath.Join(t.TempDir(), "large"), strings.Repeat("x", manifest.MaxSecretBytes+1))
	for _, test := range []struct{ line, says string }{
		{"secret create db", "there is no value"},
		{"secret create db --from-literal hunter2", "--from-literal is KEY=VALUE"},
		{"secret create db --from-literal a=hunter2 --from-literal a=x", "the key a is given twice"},
		{"secret create db --from-literal ../a=hunter2", "is not a key"},
		{"secret create Db --from-literal a=hunter2", "is not a name"},
		{"secret create db --from-file a=/nowhere", "no such file"},
		{"secret create db --from-file a=" + large, "larger than 64 KiB"},
		{"secret recover", "there is no recovery key"},
		{"secret recover --key " + large, "larger than 4 KiB"},
	} {
		r := &run{}
		if code := r.main(t, harbour(), strings.Fields(test.line)...); code != 2 || !strings.Contains(r.err.String(), test.says) {
			t.Errorf("skerry %s: exit code %d, says %s", test.line, code, r.err.String())
		}
		if strings.Contains(r.err.String(), "hunter2") {
			t.Errorf("skerry %s tells the value: %s", test.line, r.err.String())
		}
	}
}

// A file that looks like a recovery key and opens nothing is worse than none.
func TestAKeyThatTheSiteRefusedLeavesNoFile(t *testing.T) {
	for kind, gone := range map[problem.Kind]bool{problem.Conflict: true, problem.Forbidden: true, problem.Timeout: false, problem.Unavailable: false} {
		o := &secretKeys{out: writeFile(t, filepath.Join(t.TempDir(), "safe.key"), "skerry-recovery-...")}
		if err := o.takeBack(problem.New(kind, "recovery key safe", "no")); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(o.out); (err != nil) != gone {
			t.Errorf("after %v: %v", kind, err)
		}
	}
}
