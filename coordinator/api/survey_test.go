package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// slowClock is later by more than a status spends on a survey each time that
// somebody looks; it never makes anybody wait.
type slowClock struct {
	env.Clock
	looks atomic.Int64
}

func (c *slowClock) Elapsed() time.Duration { return time.Duration(c.looks.Add(1)) * surveyAtOnce }

// nodesOf a site that is nothing else.
func nodesOf(t *testing.T, count int) *state.Store {
	t.Helper()
	store := state.New()
	body, err := proto.Marshal(&sitev1.TrustBody{Site: "reef", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(body)
	entries := []*sitev1.Entry{{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "reef", SiteId: hex.EncodeToString(id[:]), Trust: &sitev1.TrustVersion{Body: body}, GossipKey: make([]byte, 32),
		Operator: &sitev1.OperatorRecord{Name: "mia", KeyFingerprint: key("mia")}, Node: &skerryv1.Node{Name: "n1", Zone: "a", KeyFingerprint: key("n1")},
	}}}}
	for i := range count - 1 {
		name := fmt.Sprintf("n%d", i+2)
		entries = append(entries, &sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token: &skerryv1.Token{Id: name, Role: "node", Name: name, Expires: timestamppb.New(time.Unix(1e9, 0))}, SecretHash: key(name), Zone: "a",
		}}}, &sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
			SecretHash: key(name), KeyFingerprint: key(name), Node: &skerryv1.Node{Name: name},
		}}})
	}
	for i, entry := range entries {
		if outcome := store.Apply(uint64(i+1), entry); outcome.GetErrorKind() != "" {
			t.Fatal(outcome)
		}
	}
	return store
}

func TestASiteTooLargeForOneStatusIsSurveyedBesideIt(t *testing.T) {
	store := nodesOf(t, 4)
	weak, losses := surveyed(store)
	synctest.Test(t, func(t *testing.T) {
		f := newForesight(&slowClock{Clock: env.NewSystem().Clock})
		first := f.now(store)
		if first.tried == 0 || first.tried >= losses || first.losses != losses {
			t.Fatalf("the first status knows %d of %d losses, want some of %d", first.tried, first.losses, losses)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.run(ctx) }()
		for range 1000 {
			time.Sleep(time.Second) // of the bubble
			if !f.unfinished() {
				break
			}
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if last := f.now(store); last.tried != losses || len(last.weak) != len(weak) {
			t.Errorf("afterwards it knows %d of %d losses and %d weaknesses, want %d", last.tried, last.losses, len(last.weak), len(weak))
		}
	})
}

func surveyed(store *state.Store) ([]*skerryv1.Weakness, int) {
	f := newForesight(env.NewSystem().Clock)
	f.begin(store)
	for f.going.Step() {
	}
	_, losses := f.going.Tried()
	return f.going.Weak(), losses
}
