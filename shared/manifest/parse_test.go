package manifest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// full uses every field that a manifest may hold.
const full = `# the whole page
kind: Workload
name: web
project: shop
labels: {tier: front, "example.org/team": 1.10}
replicas: 3
container:
  image: site.local/web:1
  command: [/bin/httpd]
  args: [-f, "-p", 8080]
  env: {PORT: 8080, DEBUG: true, EMPTY: ""}
  workingDir: /srv
  user: 1000:www
  ports:
  - {name: http, port: 8080, hostPort: 80}
  - {name: dns, port: 53, protocol: udp}
  resources: {cpu: 0.25, memory: 64Mi}
  mounts:
  - {target: /data, hostPath: /srv/data, readOnly: true}
  - {target: /tmp, tmpfs: 16Mi}
  readOnlyRoot: true
  network: bridge
  addCapabilities: [NET_BIND_SERVICE]
health:
  http: {port: http, path: /healthz}
  interval: 1s
  timeout: 500ms
  failures: 5
  startPeriod: 1m
update: {strategy: recreate, maxUnavailable: 2}
place: {spread: rack, require: [{label: disk, in: [ssd, nvme]}]}
partition: {mode: replicate, replaceAfter: 30s}
restart: {policy: on-failure, backoff: 1s, maxBackoff: 5m}
stopGrace: 30s
`

func fullWorkload() *skerryv1.Workload {
	return &skerryv1.Workload{
		Kind: "Workload", Name: "web", Project: "shop",
		Labels:   map[string]string{"tier": "front", "example.org/team": "1.10"},
		Replicas: proto.Uint32(3),
		Container: &skerryv1.Container{
			Image: "site.local/web:1", Command: []string{"/bin/httpd"}, Args: []string{"-f", "-p", "8080"},
			Env:        map[string]string{"PORT": "8080", "DEBUG": "true", "EMPTY": ""},
			WorkingDir: "/srv", User: "1000:www",
			Ports: []*skerryv1.Port{
				{Name: "http", Port: 8080, HostPort: 80, Protocol: "tcp"},
				{Name: "dns", Port: 53, Protocol: "udp"},
			},
			Resources: &skerryv1.Resources{Cpu: "0.25", Memory: "64Mi"},
			Mounts: []*skerryv1.Mount{
				{Target: "/data", HostPath: "/srv/data", ReadOnly: true},
				{Target: "/tmp", Tmpfs: "16Mi"},
			},
			ReadOnlyRoot: true, Network: "bridge", AddCapabilities: []string{"NET_BIND_SERVICE"},
		},
		Health: &skerryv1.Health{
			Http:     &skerryv1.HttpCheck{Port: "http", Path: "/healthz"},
			Interval: "1s", Timeout: "500ms", Failures: 5, StartPeriod: "1m",
		},
		Update:    &skerryv1.Update{Strategy: "recreate", MaxUnavailable: 2, MinHealthy: "0s", Deadline: "10m"},
		Place:     &skerryv1.Place{Spread: "rack", Require: []*skerryv1.Requirement{{Label: "disk", In: []string{"ssd", "nvme"}}}},
		Partition: &skerryv1.Partition{Mode: "replicate", ReplaceAfter: "30s"},
		Restart:   &skerryv1.Restart{Policy: "on-failure", Backoff: "1s", MaxBackoff: "5m"},
		StopGrace: "30s",
	}
}

func TestEveryFieldIsTaken(t *testing.T) {
	resources, err := Parse("web.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if len(resources) != 1 {
		t.Fatalf("%d resources, want 1", len(resources))
	}
	if diff := cmp.Diff(fullWorkload(), resources[0].GetWorkload(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsAreThoseOfTheReference(t *testing.T) {
	resources, err := Parse("web.yaml", []byte("kind: Workload\nname: web\ncontainer: {image: a, ports: [{name: http, port: 80}]}\nhealth: {http: {port: http}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &skerryv1.Workload{
		Kind: "Workload", Name: "web", Project: "default", Replicas: proto.Uint32(1),
		Container: &skerryv1.Container{
			Image: "a", Network: "bridge",
			Ports:     []*skerryv1.Port{{Name: "http", Port: 80, Protocol: "tcp"}},
			Resources: &skerryv1.Resources{Cpu: "100m", Memory: "64Mi"},
		},
		Health: &skerryv1.Health{
			Http:     &skerryv1.HttpCheck{Port: "http", Path: "/"},
			Interval: "2s", Timeout: "2s", Failures: 3, StartPeriod: "10s",
		},
		Update:    &skerryv1.Update{Strategy: "rolling", MaxUnavailable: 1, MinHealthy: "0s", Deadline: "10m"},
		Place:     &skerryv1.Place{Spread: "zone"},
		Partition: &skerryv1.Partition{Mode: "replicate", ReplaceAfter: "0s"},
		Restart:   &skerryv1.Restart{Policy: "always", Backoff: "500ms", MaxBackoff: "1m"},
		StopGrace: "10s",
	}
	if diff := cmp.Diff(want, resources[0].GetWorkload(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsTaken(t *testing.T) {
	const container = "\ncontainer: {image: a}\n"
	tests := []struct {
		name     string
		manifest string
		check    func(w *skerryv1.Workload) bool
	}{
		{
			"a host path binds the workload to its node unless it says otherwise",
			"kind: Workload\nname: db\ncontainer: {image: a, mounts: [{target: /d, hostPath: /srv}]}\n",
			func(w *skerryv1.Workload) bool { return w.GetPartition().GetMode() == Stay },
		},
		{
			"a volume binds the workload to its node",
			"kind: Workload\nname: db\ncontainer: {image: a, mounts: [{target: /d, volume: data}]}\n",
			func(w *skerryv1.Workload) bool { return w.GetPartition().GetMode() == Stay },
		},
		{
			"no replicas at all are not the default",
			"kind: Workload\nname: db\nreplicas: 0" + container,
			func(w *skerryv1.Workload) bool { return w.Replicas != nil && w.GetReplicas() == 0 },
		},
		{
			"JSON with tabs",
			"{\n\t\"kind\": \"Workload\",\n\t\"name\": \"db\",\n\t\"container\": {\"image\": \"a\"}\n}\n",
			func(w *skerryv1.Workload) bool { return w.GetContainer().GetImage() == "a" },
		},
		{
			"what the site sets is skipped, so that an answer can be applied again",
			"kind: Workload\nname: db\ngeneration: \"4\"\nresourceVersion: \"17\"\ncreated: 2026-01-02T03:04:05Z" + container,
			func(w *skerryv1.Workload) bool {
				return w.GetGeneration() == 0 && w.GetResourceVersion() == 17 && w.GetCreated() == nil
			},
		},
		{
			"text is taken as it is written, whatever YAML thinks that it is",
			"kind: Workload\nname: no\nlabels: {a: 010, b: yes, c: 1e3, d: 2026-01-02}" + container,
			func(w *skerryv1.Workload) bool {
				return cmp.Equal(w.GetLabels(), map[string]string{"a": "010", "b": "yes", "c": "1e3", "d": "2026-01-02"}) && w.GetName() == "no"
			},
		},
		{
			"Windows line ends and a byte order mark",
			"\ufeffkind: Workload\r\nname: db\r\ncontainer:\r\n  image: a\r\n",
			func(w *skerryv1.Workload) bool { return w.GetName() == "db" },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resources, err := Parse("db.yaml", []byte(test.manifest))
			if err != nil {
				t.Fatal(err)
			}
			if w := resources[0].GetWorkload(); !test.check(w) {
				t.Errorf("got %v", w)
			}
		})
	}
}

func TestDocumentsKeepTheirOrder(t *testing.T) {
	resources, err := Parse("all.yaml", []byte("---\nkind: Workload\nname: b\ncontainer: {image: a}\n---\n---\nkind: Workload\nname: a\ncontainer: {image: a}\n...\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(resources) != 2 || resources[0].GetWorkload().GetName() != "b" || resources[1].GetWorkload().GetName() != "a" {
		t.Errorf("got %v", resources)
	}
}

func TestLargeManifestsAreRefused(t *testing.T) {
	tests := []struct{ name, manifest, want string }{
		{"more than 1 MiB", strings.Repeat("#", MaxBytes+1), "it is larger than 1024 KiB"},
		{"more than 64 documents", strings.Repeat("kind: Workload\n---\n", maxDocuments+1), "it holds more than 64 documents"},
		{"text of more than 32 KiB", "kind: Workload\nname: a\ncontainer: {image: a, env: {A: " + strings.Repeat("x", maxTextBytes+1) + "}}", "it is longer than 32 KiB"},
		{"brackets without end", "a: " + strings.Repeat("[", 100_000), "it is not YAML"},
		{"100,000 labels", "kind: Workload\nname: a\nlabels: {" + manyLabels(100_000) + "}\ncontainer: {image: a}", "it is larger than 1024 KiB"},
		{"20,000 labels", "kind: Workload\nname: a\nlabels: {" + manyLabels(20_000) + "}\ncontainer: {image: a}", "labels: 20000 entries, at most 32 are taken"},
		{"a key as long as the file", "kind: Workload\n" + strings.Repeat("k", 1000) + ": 1\nname: a", "unknown field"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("a.yaml", []byte(test.manifest))
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func manyLabels(count int) string {
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, "label%d: x, ", i)
	}
	return text.String()
}

// FuzzParse: no input makes Parse panic, what it takes is valid as the API
// sees it, and what it refuses is the user's mistake with a bounded text.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("kind: Workload\nname: a\ncontainer: &x {image: *x}\n"))
	f.Add([]byte(`{"kind":"Workload","name":"a","container":{"image":"a"}}`))
	f.Add([]byte("a: [{? [b] : c}]\n---\n- !!binary x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		resources, err := Parse("f", data)
		if err != nil {
			if problem.KindOf(err) != problem.Invalid {
				t.Errorf("the kind is %q: %v", problem.KindOf(err), err)
			}
			if len(err.Error()) > 64<<10 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		for _, resource := range resources {
			if err := Validate(resource); err != nil {
				t.Errorf("it was taken, but the API refuses it: %v", err)
			}
			if _, err := proto.Marshal(resource); err != nil {
				t.Error(err)
			}
		}
		again, err := Parse("f", bytes.Clone(data))
		if err != nil || len(again) != len(resources) {
			t.Errorf("the second time: %d resources, %v", len(again), err)
		}
	})
}
