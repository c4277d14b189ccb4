package cli

import (
	"context"
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
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
