package queue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/seal"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

func open(t *testing.T, dir string) (*Queue, []string) {
	t.Helper()
	system := env.NewSystem()
	sealer, err := seal.Open(system.FS, system.Rand, dir)
	if err != nil {
		t.Fatal(err)
	}
	q, damaged, err := Open(system.FS, sealer, filepath.Join(dir, "queued"), "n3")
	if err != nil {
		t.Fatal(err)
	}
	return q, damaged
}

func deleting(t *testing.T, at int64, name string) *skerryv1.SignedChange {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := deferred.Sign(key, rand.Reader, &skerryv1.DeferredChange{
		Principal: "spiffe://reef/operator/mia", RequestId: fmt.Sprintf("%04x", at), Queued: &timestamppb.Timestamp{Seconds: at},
		Expires: &timestamppb.Timestamp{Seconds: at + 1},
		Change:  &skerryv1.DeferredChange_Delete{Delete: &skerryv1.DeleteRequest{Kind: "Workload", Name: name}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func ids(q *Queue) string {
	var all []string
	for _, waiting := range q.Waiting() {
		all = append(all, waiting.GetRequestId())
	}
	return strings.Join(all, " ")
}

func TestWhatIsQueuedWaitsInItsOrderAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	q, _ := open(t, dir)
	second, first := deleting(t, 2, "database-of-the-plant"), deleting(t, 1, "web")
	for _, signed := range []*skerryv1.SignedChange{second, first, first} { // one is repeated
		if err := q.Add(signed); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Add(deleting(t, 1, "other")); problem.KindOf(err) != problem.Conflict {
		t.Errorf("another change of the same ID gave %v", err)
	}
	q, damaged := open(t, dir)
	if got := ids(q); got != "0001 0002" || len(damaged) > 0 {
		t.Errorf("after a restart %q wait, %v are damaged", got, damaged)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "queued", "*"))
	for _, name := range names {
		data, err := os.ReadFile(name)
		info, statErr := os.Stat(name)
		if err != nil || statErr != nil || strings.Contains(string(data), "database-of-the-plant") || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is to be read by others: %v %v", name, err, statErr)
		}
	}
}

func TestADamagedChangeIsNamedAndNotMade(t *testing.T) {
	dir := t.TempDir()
	q, _ := open(t, dir)
	if err := q.Add(deleting(t, 1, "web")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "queued", "0001.sealed")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if q, damaged := open(t, dir); ids(q) != "" || len(damaged) != 1 {
		t.Errorf("%q wait, %v are damaged", ids(q), damaged)
	}
}

func TestOneThingHasOneChangeThatWaits(t *testing.T) {
	q, _ := open(t, t.TempDir())
	if err := q.Add(deleting(t, 1, "web")); err != nil {
		t.Fatal(err)
	}
	err := q.Add(deleting(t, 2, "web"))
	if problem.KindOf(err) != problem.Conflict || !strings.Contains(fmt.Sprint(err), "Workload/default/web") || !strings.Contains(fmt.Sprint(err), "0001") || ids(q) != "0001" {
		t.Errorf("a second change of it gave %v; %q wait", err, ids(q))
	}
	if err := q.Add(deleting(t, 3, "shop")); err != nil {
		t.Error(err)
	}
	if err := q.Withdraw("0001"); err != nil {
		t.Error(err)
	}
	if err := q.Add(deleting(t, 4, "web")); err != nil || ids(q) != "0003 0004" {
		t.Errorf("after it was withdrawn: %v; %q wait", err, ids(q))
	}
}

func TestWhatIsBeingSentCannotBeWithdrawn(t *testing.T) {
	dir := t.TempDir()
	q, _ := open(t, dir)
	for at := range int64(3) {
		if err := q.Add(deleting(t, at, fmt.Sprintf("web-%d", at))); err != nil {
			t.Fatal(err)
		}
	}
	if q.Next() == nil {
		t.Fatal("nothing is to be sent")
	}
	if err := q.Withdraw("0000"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("withdrawing it gave %v", err)
	}
	if err := q.Withdraw("0001"); err != nil {
		t.Error(err)
	}
	if err := q.Sent(false, "nobody answered"); err != nil || q.Waiting()[0].GetReason() != "nobody answered" {
		t.Errorf("what was not sent waits as %v: %v", q.Waiting(), err)
	}
	q.Next()
	if err := q.Sent(true, ""); err != nil || ids(q) != "0002" {
		t.Errorf("after one was sent %q wait: %v", ids(q), err)
	}
	if q, _ := open(t, dir); ids(q) != "0002" {
		t.Errorf("after a restart %q wait", ids(q))
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	q, _ := open(t, t.TempDir())
	for at := range int64(maxWaiting) {
		if err := q.Add(deleting(t, at, fmt.Sprintf("web-%d", at))); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Add(deleting(t, maxWaiting, "web")); problem.KindOf(err) != problem.Exhausted {
		t.Errorf("one too many gave %v", err)
	}
}
