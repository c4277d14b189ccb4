package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// maxRequests are remembered; the oldest go first.
const maxRequests = 4096

// requests remembers what came of the last writes, so that a retry has no
// further effect.
type requests struct {
	byID map[string]*sitev1.DoneRequest
	// ring of the same, the oldest at next once it is full.
	ring []*sitev1.DoneRequest
	next int
	sum  uint64
}

func newRequests() requests { return requests{byID: map[string]*sitev1.DoneRequest{}} }

// remembered tells whether an entry is a person's write. What the coordinator
// proposes by itself may be repeated without harm, and would push out the
// writes of people. Who reveals a secret again has read it again, and who makes a
// backup again has another one: the audit log says so each time.
func remembered(entry *sitev1.Entry) bool {
	switch entry.GetChange().(type) {
	case *sitev1.Entry_Plan, *sitev1.Entry_StatusBatch, *sitev1.Entry_SetNodeState, *sitev1.Entry_CheckHash,
		*sitev1.Entry_WrapSecretKey, *sitev1.Entry_RewrapSecrets, *sitev1.Entry_AddCheckpoint, *sitev1.Entry_RecordRefusals,
		*sitev1.Entry_RecordReads, *sitev1.Entry_RevealSecret, *sitev1.Entry_RecordBackup:
		return false
	default:
		return entry.GetRequestId() != ""
	}
}

func (r *requests) add(h *hasher, done *sitev1.DoneRequest) {
	if len(r.ring) < maxRequests {
		r.ring = append(r.ring, done)
	} else {
		old := r.ring[r.next]
		r.sum -= requestHash(h, old)
		delete(r.byID, old.GetRequestId())
		r.ring[r.next] = done
		r.next = (r.next + 1) % maxRequests
	}
	r.byID[done.GetRequestId()] = done
	r.sum += requestHash(h, done)
}

func requestHash(h *hasher, done *sitev1.DoneRequest) uint64 {
	return h.scalars([]string{"request", done.GetRequestId(), done.GetOutcome().GetErrorKind()}, done.GetIndex())
}

// list returns them, oldest first.
func (r *requests) list() []*sitev1.DoneRequest {
	return append(append([]*sitev1.DoneRequest{}, r.ring[r.next:]...), r.ring[:r.next]...)
}

// repeated is the outcome of an entry whose request ID was used before: that of
// the first one, if it is the same request.
func (s *Store) repeated(done *sitev1.DoneRequest, entry *sitev1.Entry, index uint64) (outcome *sitev1.Outcome, sum []byte, same bool) {
	digest, sum := s.hasher.asked(entry, identity(entry))
	if bytes.Equal(done.GetDigest(), digest) {
		return done.GetOutcome(), sum, true
	}
	outcome = refusal(problem.New(problem.Conflict, "request", "its ID was used for another request").
		WithField("requestId").WithHint("nothing was changed; draw a new ID for each request, and repeat it only with the same content"))
	outcome.Index = index
	return outcome, sum, false
}

// asked encodes a change once, for two uses: what tells a request from another
// among those that are remembered, and the SHA-256 that goes into the audit log.
// The first guards against mistakes, not against forgery: whoever may write may
// draw a new ID.
func (h *hasher) asked(entry *sitev1.Entry, change proto.Message) (digest, sum []byte) {
	h.buffer = append(append(h.buffer[:0], entry.GetPrincipal()...), 0)
	from := len(h.buffer)
	encoded, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(h.buffer, change)
	must(err) // it was decoded before
	h.buffer = encoded
	sha := sha256.Sum256(encoded[from:])
	return binary.BigEndian.AppendUint64(nil, xxhash.Sum64(encoded)), sha[:]
}

// identity is what of a change tells it from another.
func identity(entry *sitev1.Entry) *sitev1.Entry {
	asked := &sitev1.Entry{Change: entry.GetChange()}
	// Secrets are sealed anew each time that they are sent: of those only names,
	// keys and sizes count. Of site time it is what the operator named: the rest
	// the coordinator makes anew each time, like the moment of a deadline, the moves
	// of a rebalance, and how a workload was when it was judged.
	switch change := entry.GetChange().(type) {
	case *sitev1.Entry_ApplyResources:
		asked.Change = &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{Resources: change.ApplyResources.GetResources()}}
	case *sitev1.Entry_AddSecretKey:
		asked.Change = &sitev1.Entry_AddSecretKey{AddSecretKey: &sitev1.AddSecretKey{}}
	case *sitev1.Entry_AddRecoveryKey:
		asked.Change = &sitev1.Entry_AddRecoveryKey{AddRecoveryKey: &sitev1.AddRecoveryKey{Key: change.AddRecoveryKey.GetKey()}}
	case *sitev1.Entry_SetSiteTime:
		named := &sitev1.SetSiteTime{Time: change.SetSiteTime.GetTime()}
		if change.SetSiteTime.GetMedian() {
			named = &sitev1.SetSiteTime{Median: true}
		}
		asked.Change = &sitev1.Entry_SetSiteTime{SetSiteTime: named}
	case *sitev1.Entry_RotateGossip:
		asked.Change = &sitev1.Entry_RotateGossip{RotateGossip: &sitev1.RotateGossip{}}
	case *sitev1.Entry_ChangeDuty:
		duty := shallow(change.ChangeDuty)
		duty.Deadline = nil
		asked.Change = &sitev1.Entry_ChangeDuty{ChangeDuty: duty}
	case *sitev1.Entry_StopSite:
		asked.Change = &sitev1.Entry_StopSite{StopSite: &sitev1.StopSite{Reason: change.StopSite.GetReason()}}
	case *sitev1.Entry_SteerRollout:
		steer := shallow(change.SteerRollout)
		steer.Judged = nil
		asked.Change = &sitev1.Entry_SteerRollout{SteerRollout: steer}
	case *sitev1.Entry_StartRun:
		run := shallow(change.StartRun)
		run.Judged = nil
		asked.Change = &sitev1.Entry_StartRun{StartRun: run}
	case *sitev1.Entry_StartRebalance:
		asked.Change = &sitev1.Entry_StartRebalance{StartRebalance: &sitev1.StartRebalance{}}
	}
	return asked
}

// forMemory is an outcome without the bodies of resources: a retry is told
// what became of them, and reads them if it needs more.
func forMemory(outcome *sitev1.Outcome) *sitev1.Outcome {
	if len(outcome.GetApplied()) == 0 {
		return outcome
	}
	kept := shallow(outcome)
	kept.Applied = make([]*skerryv1.AppliedResource, 0, len(outcome.GetApplied()))
	for _, applied := range outcome.GetApplied() {
		kept.Applied = append(kept.Applied, &skerryv1.AppliedResource{
			Outcome: applied.GetOutcome(), Resource: manifest.Wrap(envelopeOf(manifest.Of(applied.GetResource()))),
		})
	}
	return kept
}

// envelopeOf a resource, without what it says.
func envelopeOf(o manifest.Object) manifest.Object {
	if w, ok := o.(*skerryv1.Workload); ok {
		return &skerryv1.Workload{
			Kind: w.GetKind(), Name: w.GetName(), Project: w.GetProject(), Generation: w.GetGeneration(), ResourceVersion: w.GetResourceVersion(),
		}
	}
	from := o.ProtoReflect()
	to := from.New()
	for _, name := range []protoreflect.Name{"kind", "name", "project", "generation", "resource_version"} {
		if field := from.Descriptor().Fields().ByName(name); from.Has(field) {
			to.Set(field, from.Get(field))
		}
	}
	return to.Interface().(manifest.Object)
}
