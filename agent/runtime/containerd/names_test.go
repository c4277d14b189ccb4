package containerd

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func TestContainersKeepTheirNameWhereContainerdTakesIt(t *testing.T) {
	long := "default." + strings.Repeat("x", 80)
	for id, want := range map[string]string{
		"default.web-1":   "default.web-1",
		"default.we--b-1": "skerry-",
		long:              "skerry-",
	} {
		if got := containerID(id); !strings.HasPrefix(got, want) || len(got) > maxContainerID || !containerPattern.MatchString(got) {
			t.Errorf("%s is called %s", id, got)
		}
	}
	if containerID(long) == containerID(long+"y") {
		t.Error("two instances have one name")
	}
	for _, id := range []string{"", "..", "../x", "a/b", ".hidden", strings.Repeat("x", 300)} {
		if runtime.CheckID(id) == nil {
			t.Errorf("%q was taken", id)
		}
	}
}

func TestImagesAreCalledAsPeopleWriteThem(t *testing.T) {
	for _, test := range []struct{ containerd, oci, want string }{
		{"docker.io/library/web:1", "1", "web:1"},
		{"docker.io/acme/web:1", "", "acme/web:1"},
		{"site.local/web:1", "1", "site.local/web:1"},
		{"", "site.local/web:1", "site.local/web:1"},
		{"", "web:1", "web:1"},
		{"", "latest", ""},
		{"", "", ""},
	} {
		got, err := nameOf(ocispec.Descriptor{Annotations: map[string]string{
			images.AnnotationImageName: test.containerd, ocispec.AnnotationRefName: test.oci,
		}})
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q, %q is called %q, %v; want %q", test.containerd, test.oci, got, err, test.want)
		}
	}
}

func TestArgumentsComeFromTheManifestThenFromTheImage(t *testing.T) {
	image := ocispec.ImageConfig{Entrypoint: []string{"serve"}, Cmd: []string{"-p", "80"}}
	for _, test := range []struct{ command, args, want []string }{
		{nil, nil, []string{"serve", "-p", "80"}},
		{nil, []string{"-v"}, []string{"serve", "-v"}},
		{[]string{"sh"}, nil, []string{"sh"}},
		{[]string{"sh"}, []string{"-c", "true"}, []string{"sh", "-c", "true"}},
	} {
		spec := runtime.Spec{Container: &skerryv1.Container{Command: test.command, Args: test.args}}
		got, err := arguments(spec, image)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	if _, err := arguments(runtime.Spec{Container: &skerryv1.Container{}}, ocispec.ImageConfig{}); problem.KindOf(err) != problem.Invalid {
		t.Errorf("nothing to run gave %v", err)
	}
}

func TestTheManifestsVariablesWin(t *testing.T) {
	spec := runtime.Spec{Container: &skerryv1.Container{Env: map[string]string{"B": "manifest", "A": "manifest"}}}
	got := environment(spec, ocispec.ImageConfig{Env: []string{"B=image", "C=image"}})
	if diff := cmp.Diff([]string{"C=image", defaultPath, "A=manifest", "B=manifest"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestContainersGetNoServersThatOnlyTheHostReaches(t *testing.T) {
	kept, servers := reachableServers([]byte("search site.local\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.1\n"))
	if string(kept) != "search site.local\nnameserver 10.0.0.1\n" || servers != 1 {
		t.Errorf("%d servers are left of %q", servers, kept)
	}
}

func TestProblemsSayWhatToDo(t *testing.T) {
	d := &Driver{Config: Config{Address: "/run/c.sock"}}
	refused := status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial unix /run/c.sock: connect: connection refused"`)
	for _, test := range []struct {
		err  error
		kind problem.Kind
		want string
	}{
		{refused, problem.Unavailable, "web: containerd does not answer at /run/c.sock: dial unix /run/c.sock: connect: connection refused (is it running? systemctl status containerd)"},
		{context.DeadlineExceeded, problem.Timeout, "web: it cannot be started: containerd did not answer in time: context deadline exceeded"},
		{errors.New("write /x: no space left on device"), problem.Exhausted, "web: it cannot be started: write /x: no space left on device (make room on the disk that holds containerd's state: df -h)"},
		{errdefs.ErrUnknown, problem.Internal, "web: it cannot be started: unknown"},
		{problem.New(problem.Conflict, "x", "known"), problem.Conflict, "x: known"},
		{&net.OpError{Op: "dial", Err: errors.New("odd")}, problem.Internal, "web: it cannot be started: dial: odd"},
	} {
		err := d.problem("web", "it cannot be started", test.err)
		if problem.KindOf(err) != test.kind || err.Error() != test.want {
			t.Errorf("%v became %s: %q, want %s: %q", test.err, problem.KindOf(err), err, test.kind, test.want)
		}
		if !errors.Is(err, test.err) {
			t.Errorf("%v lost its cause", err)
		}
	}
	if d.problem("web", "it cannot be started", nil) != nil {
		t.Error("nothing became a problem")
	}
}
