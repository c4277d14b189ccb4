package runlog

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const logID = "default.web-1"

func openLogs(t *testing.T) *Logs {
	t.Helper()
	l := New(t.TempDir(), env.NewSystem().Clock)
	if err := l.Create(logID); err != nil {
		t.Fatal(err)
	}
	return l
}

// write appends as the shim does.
func (l *Logs) write(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(l.File(logID, 0), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func (l *Logs) turn(t *testing.T) {
	t.Helper()
	if err := l.RotateOne(logID); err != nil {
		t.Fatal(err)
	}
}

func (l *Logs) all(t *testing.T, tail int) string {
	t.Helper()
	r, err := l.Open(t.Context(), logID, runtime.LogOptions{Tail: tail})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLogsGoOverRotatedFiles(t *testing.T) {
	l := openLogs(t)
	for n := 1; n <= 5; n++ {
		l.write(t, fmt.Sprintf("a%d\nb%d\n", n, n))
		if n < 5 {
			l.turn(t)
		}
	}
	for tail, want := range map[int]string{
		0: "a3\nb3\na4\nb4\na5\nb5\n",
		1: "b5\n",
		2: "a5\nb5\n",
		3: "b4\na5\nb5\n",
		5: "b3\na4\nb4\na5\nb5\n",
		9: "a3\nb3\na4\nb4\na5\nb5\n",
	} {
		if got := l.all(t, tail); got != want {
			t.Errorf("tail %d gives %q, want %q", tail, got, want)
		}
	}
	l.write(t, "begun")
	if got := l.all(t, 2); got != "b5\nbegun" {
		t.Errorf("with a line begun, tail 2 gives %q", got)
	}
}

func TestATailIsFoundInLongLines(t *testing.T) {
	l := openLogs(t)
	long := strings.Repeat("x", 2*tailBlock+17)
	l.write(t, "first\n"+long+"\n")
	l.turn(t)
	l.write(t, long+"\n")
	if got := l.all(t, 2); got != long+"\n"+long+"\n" {
		t.Errorf("tail 2 gives %d bytes, want %d", len(got), 2*len(long)+2)
	}
	if got := l.all(t, 3); !strings.HasPrefix(got, "first\n") {
		t.Error("tail 3 lacks the first line")
	}
}

func TestAReaderKeepsItsPlaceThroughRotation(t *testing.T) {
	l := openLogs(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := l.Open(ctx, logID, runtime.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(r)
	next := func(want string) {
		t.Helper()
		got, err := lines.ReadString('\n')
		if err != nil || got != want+"\n" {
			t.Fatalf("the next line is %q, %v, want %q", got, err, want)
		}
	}
	l.write(t, "one\n")
	next("one")
	l.turn(t)
	l.write(t, "two\n")
	next("two")
	l.write(t, "three\n")
	l.turn(t)
	l.write(t, "four\n")
	next("three")
	next("four")
	for n := range maxLogFiles + 1 { // more than are kept
		l.write(t, fmt.Sprintf("late %d\n", n))
		l.turn(t)
	}
	next("late 2")
	next("late 3")
	time.AfterFunc(2*followEvery, cancel)
	if got, err := lines.ReadString('\n'); err != io.EOF {
		t.Errorf("at the end came %q, %v", got, err)
	}
}

func TestRotationKeepsLogsWithinTheirBounds(t *testing.T) {
	l := openLogs(t)
	block := strings.Repeat("0123456789abcdef", maxLogBytes/16)
	for range maxLogFiles + 2 {
		l.write(t, block)
		if err := l.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(l.dir + "/" + logID)
	if err != nil || len(files) != maxLogFiles {
		t.Errorf("there are %d files, %v, want %d", len(files), err, maxLogFiles)
	}
	if got := len(l.all(t, 0)); got != (maxLogFiles-1)*maxLogBytes {
		t.Errorf("%d bytes are kept", got)
	}
	l.write(t, "short\n")
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	if got := l.all(t, 1); !strings.HasSuffix(got, "short\n") {
		t.Error("a short log was rotated away")
	}
	if err := l.Remove(logID); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Open(t.Context(), logID, runtime.LogOptions{}); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a removed log gives %v", err)
	}
	if err := l.Rotate(); err != nil {
		t.Error(err)
	}
}
