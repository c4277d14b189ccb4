package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const webManifest = "kind: Workload\nname: web\nreplicas: 3\ncontainer: {image: site.local/web:1}\n"

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestApply(t *testing.T) {
	web := write(t, "web.yaml", webManifest)
	expect(t, harbour(), "apply -f "+web, 0, "workload/web created\n", "")
	expect(t, harbour(), "apply --dry-run -f "+web, 0, "workload/web created (dry run)\n", "")

	site := harbour()
	r := &run{in: strings.NewReader(strings.ReplaceAll(webManifest, "web", "till"))}
	if code := r.main(t, site, "apply", "-f", "-", "-f", web); code != 0 {
		t.Errorf("exit code %d: %s", code, r.err.String())
	}
	request, _ := site.asked().(*skerryv1.ApplyRequest)
	if len(request.GetResources()) != 2 || len(request.GetRequestId()) != 32 {
		t.Errorf("asked for %v", request)
	}
}

func TestApplyTellsEverythingThatIsWrongAndSendsNothing(t *testing.T) {
	site := harbour()
	web, twice := write(t, "web.yaml", webManifest), write(t, "twice.yaml", webManifest)
	wrong := write(t, "wrong.yaml", strings.ReplaceAll(webManifest, "replicas", "replica"))
	r := &run{}
	if code := r.main(t, site, "apply", "-f", web, "-f", twice, "-f", wrong); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	wantIn(t, r.err.String(), "skerry: "+twice+": workload/web is in "+web+" too\n", "replica")
	if site.asked() != nil {
		t.Errorf("asked for %v", site.asked())
	}
}

func TestDelete(t *testing.T) {
	expect(t, harbour(), "delete wl web db", 0, "workload/web deleted\nworkload/db deleted\n", "")
	expect(t, harbour(), "delete wl web nowhere db", 3, "workload/web deleted\nworkload/db deleted\n", `
skerry: Workload/nowhere: there is no such workload
  hint: skerry get workload lists what there is
`)
	expect(t, harbour(), "delete -f "+write(t, "web.yaml", webManifest), 0, "workload/web deleted\n", "")
}

func TestImageLoad(t *testing.T) {
	site := harbour()
	tar := write(t, "web.tar", strings.Repeat("x", 3*uploadChunk+5))
	expect(t, site, "image load --name site.local/web:2 "+tar, 0,
		"image/site.local/web:2 loaded: 768.0 KiB, sha256:3f9a12c4d5e6, on node-1\n",
		"web.tar: sent 768.0 KiB, the site checks and stores it\n")
	empty := write(t, "empty.tar", "")
	expect(t, site, "image load "+empty, 2, "", "skerry: "+empty+": it is empty\n")
}
