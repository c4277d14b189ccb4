package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

type execServer = connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]

func stdout(text string) *skerryv1.ExecResponse {
	return &skerryv1.ExecResponse{Message: &skerryv1.ExecResponse_Stdout{Stdout: []byte(text)}}
}

func stderr(text string) *skerryv1.ExecResponse {
	return &skerryv1.ExecResponse{Message: &skerryv1.ExecResponse_Stderr{Stderr: []byte(text)}}
}

func exitCode(code int32) *skerryv1.ExecResponse {
	return &skerryv1.ExecResponse{Message: &skerryv1.ExecResponse_ExitCode{ExitCode: code}}
}

// commandOf receives what to run and compares it.
func commandOf(t *testing.T, stream *execServer, want *skerryv1.ExecStart) {
	first, err := stream.Receive()
	if err != nil {
		t.Error(err)
	}
	wantProto(t, first.GetStart(), want)
}

func TestExecPassesOnOutputAndExitCode(t *testing.T) {
	site := harbour()
	site.exec = func(_ context.Context, stream *execServer) error {
		commandOf(t, stream, &skerryv1.ExecStart{Placement: "web-1", Project: "shop", Command: []string{"ls", "-l", "--", "/x"}})
		second, err := stream.Receive()
		if !second.GetStdinEof() {
			t.Errorf("without -i came %v, %v, want the end of standard input", second, err)
		}
		return errors.Join(stream.Send(stdout("some\n")), stream.Send(stderr("no /x\n")), stream.Send(exitCode(42)))
	}
	expect(t, site, "exec -p shop web-1 -- ls -l -- /x", 42, "some\n", "no /x\n")
}

func TestExecPassesOnStandardInput(t *testing.T) {
	site := harbour()
	site.exec = func(_ context.Context, stream *execServer) error {
		commandOf(t, stream, &skerryv1.ExecStart{Placement: "db-1", Command: []string{"wc", "-c"}})
		var input strings.Builder
		for {
			message, err := stream.Receive()
			if err != nil {
				return err
			}
			if message.GetStdinEof() {
				break
			}
			input.Write(message.GetStdin())
		}
		return errors.Join(stream.Send(stdout(input.String())), stream.Send(exitCode(0)))
	}
	dump := strings.Repeat("insert;\n", 20_000)
	r := &run{in: strings.NewReader(dump)}
	if code := r.main(t, site, "exec", "-i", "db-1", "--", "wc", "-c"); code != 0 {
		t.Errorf("exit code %d: %s", code, r.err.String())
	}
	if r.out.String() != dump {
		t.Errorf("%d bytes came back, want %d", len(r.out.String()), len(dump))
	}
}

func TestExecSaysThatItWasCutOff(t *testing.T) {
	site := harbour()
	site.exec = func(_ context.Context, stream *execServer) error {
		return stream.Send(stdout("half"))
	}
	r := &run{}
	if code := r.main(t, site, "exec", "web-1", "--", "make"); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	wantIn(t, r.err.String(), "skerry: exec: the call ended without an exit code\n  hint: it is not known whether")
}

func TestExecGivesTheCommandATerminal(t *testing.T) {
	keys, screen := openTerminal(t, 120, 40)
	before, err := term.GetState(int(screen.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	site := harbour()
	site.exec = func(_ context.Context, stream *execServer) error {
		commandOf(t, stream, &skerryv1.ExecStart{
			Placement: "web-1", Command: []string{"sh"}, Tty: true, Size: &skerryv1.TerminalSize{Columns: 120, Rows: 40},
		})
		// Ctrl-C, Ctrl-D and a line that has no end yet reach the command as they are.
		if _, err := keys.Write([]byte("ls\x03\x04")); err != nil {
			return err
		}
		for got := ""; got != "ls\x03\x04"; {
			message, err := stream.Receive()
			if err != nil {
				return err
			}
			got += string(message.GetStdin())
		}
		setSize(t, screen, 80, 24)
		if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
			return err
		}
		message, err := stream.Receive()
		if err != nil {
			return err
		}
		wantProto(t, message.GetResize(), &skerryv1.TerminalSize{Columns: 80, Rows: 24})
		return stream.Send(exitCode(3))
	}
	r := &run{in: screen}
	if code := r.main(t, site, "exec", "-it", "web-1", "--", "sh"); code != 3 {
		t.Errorf("exit code %d, want 3: %s", code, r.err.String())
	}
	after, err := term.GetState(int(screen.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if *before != *after {
		t.Errorf("the terminal was left in another state: %+v, was %+v", after, before)
	}
}

// openTerminal returns both ends of a terminal: where keys go in, and what the
// command line takes for its standard input.
func openTerminal(t *testing.T, columns, rows uint16) (keys, screen *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	setSize(t, screen, columns, rows)
	t.Cleanup(func() {
		// A line ends the Read that waits for the next key.
		_, err := keys.Write([]byte("\n"))
		if err := errors.Join(err, screen.Close(), keys.Close()); err != nil {
			t.Error(err)
		}
	})
	return keys, screen
}

func setSize(t *testing.T, screen *os.File, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
}
