package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func TestAConsoleEndsAtItsKey(t *testing.T) {
	site := harbour()
	typed := make(chan string, 1)
	site.exec = func(_ context.Context, stream *execServer) error {
		commandOf(t, stream, &skerryv1.ExecStart{Placement: "web-1", Console: true})
		if err := stream.Send(stdout("login: ")); err != nil {
			return err
		}
		var all string
		for {
			message, err := stream.Receive()
			if err != nil || message.GetStdinEof() {
				typed <- all
				return stream.Send(exitCode(0))
			}
			all += string(message.GetStdin())
		}
	}
	r := &run{in: strings.NewReader("root\n\x1dnot this")}
	if code := r.main(t, site, "vm", "console", "web-1"); code != 0 || r.out.String() != "login: " {
		t.Errorf("exit code %d: %s%s", code, r.out.String(), r.err.String())
	}
	if got := <-typed; got != "root\n" {
		t.Errorf("the guest got %q", got)
	}
}

func TestAnExportIsWholeOrNotThere(t *testing.T) {
	const content = "QFI\xfb and so on"
	sum := sha256.Sum256([]byte(content))
	for name, test := range map[string]struct {
		text, digest string
		size         int64
		code         int
	}{
		"whole":                 {content, hex.EncodeToString(sum[:]), int64(len(content)), 0},
		"with another digest":   {content, strings.Repeat("0", 64), int64(len(content)), 1},
		"shorter than it is":    {content[:4], hex.EncodeToString(sum[:]), int64(len(content)), 1},
		"longer than announced": {content, hex.EncodeToString(sum[:]), 3, 1},
	} {
		site, dir := harbour(), t.TempDir()
		site.export = func(stream *connect.ServerStream[skerryv1.ExportResponse]) error {
			return errors.Join(
				stream.Send(&skerryv1.ExportResponse{Message: &skerryv1.ExportResponse_Size{Size: test.size}}),
				stream.Send(&skerryv1.ExportResponse{Message: &skerryv1.ExportResponse_Data{Data: []byte(test.text)}}),
				stream.Send(&skerryv1.ExportResponse{Message: &skerryv1.ExportResponse_Digest{Digest: "sha256:" + test.digest}}))
		}
		r := &run{}
		file := filepath.Join(dir, "disk.qcow2")
		code := r.main(t, site, "vm", "export", "web-1", file, "--disk", "data")
		if (code == 0) != (test.code == 0) {
			t.Errorf("%s: exit code %d: %s", name, code, r.err.String())
		}
		wantProto(t, site.asked(), &skerryv1.ExportRequest{Kind: "Placement", Name: "web-1", Disk: "data"})
		left, err := os.ReadDir(dir)
		if err != nil || (len(left) == 1) != (test.code == 0) {
			t.Errorf("%s: there are %v, %v", name, left, err)
		}
		if code := r.main(t, site, "vm", "export", "web-1", file); test.code == 0 && code == 0 {
			t.Errorf("%s: a file was replaced", name)
		}
	}
}

func TestSnapshotsAreAskedFor(t *testing.T) {
	site := harbour()
	expect(t, site, "vm snapshot create web-1 before", 0, "snapshot before of placement/web-1 made\n", "")
	wantProto(t, site.asked(), &skerryv1.SnapshotRequest{
		Kind: "Placement", Name: "web-1", Snapshot: "before", Action: skerryv1.SnapshotAction_SNAPSHOT_ACTION_CREATE,
	})
	site.refuse = problem.New(problem.Conflict, "default.web-1", "it runs")
	r := &run{}
	if code := r.main(t, site, "vm", "snapshot", "restore", "web-1", "before"); code == 0 || !strings.Contains(r.err.String(), "it runs") {
		t.Errorf("exit code %d: %s", code, r.err.String())
	}
}

func TestDevicesAreGivenAndTaken(t *testing.T) {
	vm := &skerryv1.VirtualMachine{Disks: []*skerryv1.Disk{{Name: "a", Volume: "a"}}, Networks: []*skerryv1.Nic{{Nat: true}}}
	for name, test := range map[string]struct {
		change func(*skerryv1.VirtualMachine) error
		kind   problem.Kind
	}{
		"neither":                     {(&vmAttach{}).attach, problem.Invalid},
		"both":                        {(&vmAttach{volume: "b", nat: true}).attach, problem.Invalid},
		"a disk that it has not":      {(&vmDetach{disk: "b"}).detach, problem.NotFound},
		"a card that it has not":      {(&vmDetach{network: 2}).detach, problem.NotFound},
		"neither disk nor card to go": {(&vmDetach{}).detach, problem.Invalid},
	} {
		if err := test.change(vm); problem.KindOf(err) != test.kind {
			t.Errorf("%s: it gave %v", name, err)
		}
	}
	for _, change := range []func(*skerryv1.VirtualMachine) error{
		(&vmAttach{volume: "b", readOnly: true}).attach, (&vmAttach{bridge: "br0"}).attach, (&vmDetach{disk: "a"}).detach, (&vmDetach{network: 1}).detach,
	} {
		if err := change(vm); err != nil {
			t.Fatal(err)
		}
	}
	wantProto(t, vm, &skerryv1.VirtualMachine{
		Disks: []*skerryv1.Disk{{Name: "b", Volume: "b", ReadOnly: true}}, Networks: []*skerryv1.Nic{{Bridge: "br0"}},
	})
}
