package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/pebblelog"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// trio is three real replicas of the state that exchange messages in memory.
type trio struct {
	t      *testing.T
	nodes  [4]*consensus.Node // by raft ID
	stores [4]*state.Store
	asked  atomic.Int64
}

func (r *trio) send(messages []*raftpb.Message) {
	for _, message := range messages {
		if to := r.nodes[message.GetTo()]; to != nil {
			to.Receive(message)
		}
	}
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	r := &trio{t: t}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	for id := uint64(1); id <= 3; id++ {
		log, err := pebblelog.Open(vfs.Default, t.TempDir(), logger)
		if err != nil {
			t.Fatal(err)
		}
		r.stores[id] = state.New()
		if id == 1 {
			if err := consensus.Bootstrap(log, id, r.stores[id]); err != nil {
				t.Fatal(err)
			}
		}
		replica, err := consensus.NewReplica(consensus.Config{ID: id, Log: log, Machine: r.stores[id], Send: r.send, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		if id == 1 {
			if err := replica.Campaign(); err != nil {
				t.Fatal(err)
			}
		}
		r.nodes[id] = consensus.NewNode(replica, env.NewSystem().Clock, logger)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.nodes[id].Run(ctx) }()
		t.Cleanup(func() {
			stop()
			<-ended
			_ = log.Close()
		})
	}
	r.begin()
	return r
}

// commit tries whoever leads until an entry has an outcome.
func (r *trio) commit(ctx context.Context, entry *sitev1.Entry) *sitev1.Outcome {
	for ctx.Err() == nil {
		for _, node := range r.nodes[1:] {
			if !node.Status().Serving {
				continue
			}
			asked := proto.CloneOf(entry)
			asked.RequestId = fmt.Sprintf("r-%d", r.asked.Add(1))
			asked.Time = timestamppb.New(time.Unix(1000, 0))
			if outcome, err := node.Propose(ctx, asked); err == nil {
				return outcome
			}
		}
		_ = env.Sleep(ctx, env.NewSystem().Clock, time.Millisecond)
	}
	r.t.Error("an entry was never committed:", ctx.Err())
	return &sitev1.Outcome{}
}

// begin makes the site, with three voters and one token.
func (r *trio) begin() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	body, err := proto.Marshal(&sitev1.TrustBody{Site: "reef", Version: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	id := sha256.Sum256(body)
	for _, entry := range []*sitev1.Entry{
		{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
			Name: "reef", SiteId: hex.EncodeToString(id[:]), Trust: &sitev1.TrustVersion{Body: body}, GossipKey: make([]byte, 32),
			Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: id[:]},
			Node:     &skerryv1.Node{Name: "n1", KeyFingerprint: id[:]},
		}}},
		{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token:      &skerryv1.Token{Id: "t-1", Role: "node", Name: "joiner", Expires: timestamppb.New(time.Unix(5000, 0))},
			SecretHash: id[:],
		}}},
	} {
		if outcome := r.commit(ctx, entry); outcome.GetErrorKind() != "" {
			r.t.Fatal(outcome)
		}
	}
	for raft := uint64(2); raft <= 3; raft++ {
		for _, role := range []skerryv1.VoterRole{skerryv1.VoterRole_VOTER_ROLE_LEARNER, skerryv1.VoterRole_VOTER_ROLE_VOTER} {
			err := r.nodes[1].ChangeVoters(ctx, &sitev1.VoterChange{AddNode: "other", AddRaftId: raft, Role: role})
			for caught := false; err == nil && !caught; {
				for _, peer := range r.nodes[1].Status().Peers {
					caught = caught || (peer.ID == raft && peer.Learner == (role == skerryv1.VoterRole_VOTER_ROLE_LEARNER) && peer.Match+1 >= r.nodes[1].Status().Commit)
				}
				err = env.Sleep(ctx, env.NewSystem().Clock, time.Millisecond)
			}
			if err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// unrest moves the leadership around until ctx ends, and counts how often.
func (r *trio) unrest(ctx context.Context, moved *atomic.Int64) {
	for env.Sleep(ctx, env.NewSystem().Clock, 20*time.Millisecond) == nil {
		for id, node := range r.nodes[1:] {
			if node.Status().Serving {
				if node.TransferLeadership(ctx, uint64((id+1)%3+1)) == nil {
					moved.Add(1)
				}
				break
			}
		}
	}
}

// TestATokenIsUsedOnceHoweverOftenItIsReplayed lets thousands of keys bring the
// same token at once, while the leadership moves from replica to replica: one
// key gets in, however often it asks, and every other one is refused.
func TestATokenIsUsedOnceHoweverOftenItIsReplayed(t *testing.T) {
	replays, each := 10_000, 50
	if testing.Short() {
		replays = 1000
	}
	r := newTrio(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	unrestCtx, calm := context.WithCancel(ctx)
	var moved atomic.Int64
	var unrest sync.WaitGroup
	unrest.Go(func() { r.unrest(unrestCtx, &moved) })
	defer unrest.Wait()
	defer calm()

	secret := r.stores[1].View().Tokens()[0].GetToken().GetSecretHash()
	join := func(ctx context.Context, number int) *sitev1.Outcome {
		var seed [8]byte
		binary.BigEndian.PutUint64(seed[:], uint64(number))
		key := sha256.Sum256(seed[:])
		return r.commit(ctx, &sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
			SecretHash: secret, KeyFingerprint: key[:], Node: &skerryv1.Node{Id: hex.EncodeToString(key[:4])},
		}}})
	}
	var mu sync.Mutex
	admitted := map[int]string{} // key to the ID of its record
	var granted, refused atomic.Int64
	var work sync.WaitGroup
	next := make(chan int)
	for range 256 {
		work.Go(func() {
			for number := range next {
				outcome := join(ctx, number)
				switch outcome.GetErrorKind() {
				case "":
					granted.Add(1)
					mu.Lock()
					if before, again := admitted[number]; again && before != outcome.GetNode().GetId() {
						t.Errorf("key %d got two records", number)
					}
					admitted[number] = outcome.GetNode().GetId()
					mu.Unlock()
				case "forbidden":
					refused.Add(1)
				default:
					t.Errorf("key %d: %v", number, outcome)
				}
			}
		})
	}
	sent := 0
	for ; sent < replays || (moved.Load() < 3 && ctx.Err() == nil); sent++ {
		next <- sent % (replays / each) // every key asks again and again
	}
	close(next)
	work.Wait()
	calm()
	unrest.Wait()
	if len(admitted) != 1 {
		t.Fatalf("%d keys were admitted by one token", len(admitted))
	}
	for number, id := range admitted {
		if outcome := join(ctx, number); outcome.GetNode().GetId() != id {
			t.Errorf("the key that was admitted asks again and gets %v", outcome)
		}
	}
	if granted.Load() < int64(each) || granted.Load()+refused.Load() != int64(sent) {
		t.Errorf("of %d calls %d were granted and %d refused, want at least the %d of one key granted and all others refused",
			sent, granted.Load(), refused.Load(), each)
	}
	t.Logf("%d replays, %d moves of the leadership", sent, moved.Load())
}
