package cli

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// logStreams serves one stream after the other: its messages, then a broken
// connection. After the last one there is no such placement.
func logStreams(messages ...[]string) (*fakeSite, *[]*skerryv1.LogsRequest) {
	site, asked := harbour(), new([]*skerryv1.LogsRequest)
	site.logs = func(request *skerryv1.LogsRequest, send func(string) error) error {
		*asked = append(*asked, request)
		if len(*asked) > len(messages) {
			return missing("Placement", "web-1")
		}
		for _, message := range messages[len(*asked)-1] {
			if err := send(message); err != nil {
				return err
			}
		}
		panic(http.ErrAbortHandler)
	}
	return site, asked
}

func TestLogs(t *testing.T) {
	site := harbour()
	site.logs = func(request *skerryv1.LogsRequest, send func(string) error) error {
		wantProto(t, request, &skerryv1.LogsRequest{Placement: "web-1", Project: "shop", Tail: 2})
		return send("one\n\x1b[1mtwo")
	}
	expect(t, site, "logs web-1 --tail 2 -p shop", 0, "one\n\x1b[1mtwo", "")
}

func TestLogsThatBreakOffSaySo(t *testing.T) {
	site, asked := logStreams([]string{"one\n"})
	r := &run{}
	if code := r.main(t, site, "logs", "web-1"); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	wantIn(t, r.err.String(), "skerry: site: the connection was lost: ")
	if r.out.String() != "one\n" || len(*asked) != 1 {
		t.Errorf("printed %q in %d streams", r.out.String(), len(*asked))
	}
}

func TestLogsGoOnBehindWhatWasPrinted(t *testing.T) {
	site, asked := logStreams(
		nil,
		[]string{"one\ntw", "o\nthr"},
		[]string{"one\n", "two\nthree\nfo"},
		[]string{"two\nthree\nfour\nfive\n"},
	)
	r := &run{}
	if code := r.main(t, site, "logs", "-f", "web-1", "--tail", "7"); code != 3 {
		t.Errorf("exit code %d, want that of the last stream, 3", code)
	}
	if diff := cmp.Diff("one\ntwo\nthree\nfour\nfive\n", r.out.String()); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	var want []*skerryv1.LogsRequest
	for _, tail := range []uint32{7, 7, 3, 4, 5} {
		want = append(want, &skerryv1.LogsRequest{Placement: "web-1", Follow: true, Tail: tail})
	}
	if diff := cmp.Diff(want, *asked, protocmp.Transform()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	wantIn(t, r.err.String(), ": trying again\nskerry: Placement/web-1: there is no such placement\n")
}

func TestLogsFromTheBeginningMissNothing(t *testing.T) {
	site, asked := logStreams([]string{"one\n"}, []string{"one\ntwo\nthree\n"})
	r := &run{}
	r.main(t, site, "logs", "-f", "web-1")
	if diff := cmp.Diff("one\ntwo\nthree\n", r.out.String()); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	if tail := (*asked)[1].GetTail(); tail != 1+maxMissed {
		t.Errorf("asked for %d lines", tail)
	}
}

func TestLogsSayWhereLinesMayBeMissing(t *testing.T) {
	site, _ := logStreams([]string{"one\ntwo\n"}, []string{"five\nsix\n"})
	r := &run{}
	r.main(t, site, "logs", "-f", "web-1", "--tail", "2")
	if diff := cmp.Diff("one\ntwo\nfive\nsix\n", r.out.String()); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	wantIn(t, r.err.String(), "! lines may be missing here")
}
