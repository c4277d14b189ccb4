package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"skerry.dev/shared/problem"
)

func TestMistakesInTheCommandLineSayWhatToType(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"stauts", "skerry: there is no command \"skerry stauts\"\n  hint: did you mean skerry status?\n"},
		{"node lst", "skerry: there is no command \"skerry node lst\"\n  hint: did you mean skerry node list?\n"},
		{"get", "skerry: 1 argument needed, 0 given\n  hint: usage: skerry get KIND [NAME] [flags]; more with --help\n"},
		{"get cow", "skerry: there is no kind \"cow\"\n  hint: the kinds are workload (wl), placement (pl), node (no), image (img), secret (sec), volume (vol), settings (setting), project (pj), accesspolicy (ap)\n"},
		{"get wl web -l a=b", "skerry: a name and labels do not go together"},
		{"get wl -o xml", "must be one of json|yaml|wide|name"},
		{"status -o wide", "must be one of json|yaml"},
		{"status --wat", "skerry: unknown flag: --wat\n  hint: usage: skerry status [flags]; more with --help\n"},
		{"status --timeout 0s", "skerry: --timeout must be longer than nothing, not 0s"},
		{"describe node", "skerry: 2 arguments needed, 1 given"},
		{"delete wl", "skerry: a kind and a name are needed"},
		{"apply", "skerry: there is no manifest"},
		{"apply -f /nowhere.yaml", "skerry: /nowhere.yaml: it cannot be read: no such file or directory"},
		{"image load -", "  hint: write it to a file first"},
		{"logs", "skerry: 1 argument needed"},
		{"logs web-1 --tail 0", "skerry: --tail must be at least 1"},
		{"logs web-1 --tail -1", "skerry: --tail takes a whole number from 0 on, not \"-1\"\n  hint: usage: skerry logs"},
		{"logs web-1 --tail 99999999999999999999", "skerry: --tail takes a smaller number, not"},
		{"logs web-1 -f=maybe", "skerry: --follow takes true or false, not \"maybe\""},
		{"events --limit 5000", "skerry: --limit must be 1 to 4096, not 5000"},
		{"events node node-1 x", "skerry: unexpected argument \"x\""},
		{"exec web-1 ls", "skerry: one placement is needed before --, the command after it\n  hint: usage: skerry exec [-i] [-t] PLACEMENT -- COMMAND [ARG]...; more with --help\n"},
		{"exec web-1 --", "skerry: there is no command after --"},
		{"exec -it web-1 -- sh", "skerry: standard input: it is not a terminal, and -t needs one\n  hint: leave -t out"},
		{"token create", "skerry: --role must be node or operator"},
		{"token create --role admin", "skerry: --role must be node or operator"},
		{"token create --role node --quiet -o json", "skerry: --quiet and -o do not go together"},
	} {
		r := &run{}
		if code := r.main(t, harbour(), strings.Fields(test.line)...); code != 2 {
			t.Errorf("skerry %s: exit code %d, want 2", test.line, code)
		}
		if !strings.Contains(r.err.String(), test.want) {
			t.Errorf("skerry %s says:\n%swant:\n%s", test.line, r.err.String(), test.want)
		}
		if r.out.String() != "" {
			t.Errorf("skerry %s prints %q", test.line, r.out.String())
		}
	}
}

func TestRefusalsDecideTheExitCode(t *testing.T) {
	codes := map[problem.Kind]int{
		problem.Internal: 1, problem.Invalid: 2, problem.NotFound: 3, problem.Conflict: 4, problem.Exhausted: 5,
		problem.Forbidden: 6, problem.Unauthenticated: 6, problem.Unavailable: 7, problem.Timeout: 8,
	}
	for kind, code := range codes {
		for _, line := range []string{
			"status", "get wl", "describe wl web", "why web", "events", "token create --role node", "token list",
			"delete wl web", "logs web-1", "exec web-1 -- true",
		} {
			site := harbour()
			site.refuse = problem.New(kind, "Placement/web-1", "it is so").WithHint("do this")
			want := "skerry: Placement/web-1: it is so\n  hint: do this\n"
			if kind == problem.Unavailable && line == "delete wl web" { // it may be left with the node
				want = strings.TrimSuffix(want, "\n") + "; --when-connected leaves the change with the node that answers\n"
			}
			if kind == problem.Timeout {
				want = "" // bounded commands word it themselves
			}
			r := &run{}
			if got := r.main(t, site, strings.Fields(line)...); got != code {
				t.Errorf("skerry %s, refused as %s: exit code %d, want %d", line, kind, got, code)
			}
			if !strings.Contains(r.err.String(), strings.TrimSuffix(want, "\n")) {
				t.Errorf("skerry %s, refused as %s, says:\n%swant:\n%s", line, kind, r.err.String(), want)
			}
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	r := &run{}
	server := serve(t, harbour().handler())
	server.Close()
	if code := r.against(t, nodesOf(server), "status"); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	wantIn(t, r.err.String(), "skerry: site: no node answers: ", "  hint: are the agents running (systemctl status skerry)")
}

func TestInterruptedRunsSayNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &run{ctx: ctx}
	if code := r.main(t, harbour(), "status"); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if r.err.String() != "" {
		t.Errorf("it says %q", r.err.String())
	}
}

func TestEachOfSeveralProblemsIsPrintedOnce(t *testing.T) {
	var b strings.Builder
	printProblem(&b, errors.Join(problem.New(problem.NotFound, "a", "gone").WithHint("look"), errors.New("b\nfailed")))
	if want := "skerry: a: gone\n  hint: look\nskerry: b failed\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestVersion(t *testing.T) {
	r := &run{}
	r.main(t, harbour(), "version")
	wantIn(t, r.out.String(), "skerry 1.2.3 (go")
	r = &run{}
	r.main(t, harbour(), "version", "-o", "json")
	wantIn(t, r.out.String(), "{\n  \"version\": \"1.2.3\",\n  \"go\": \"go")
}
