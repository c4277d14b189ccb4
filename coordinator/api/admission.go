package api

import (
	"container/list"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxWorking calls of operators and workloads are worked on at a time: enough to
	// fill the log's batches, too few to keep a processor from the coordinator's own
	// work.
	maxWorking = 64
	// maxWaiting more wait for their turn, each for maxTurn at most.
	maxWaiting = 4096
	maxTurn    = time.Second
	// When the oldest has waited for overdue, more come than can be worked on.
	overdue = 350 * time.Millisecond
)

// isFree tells whether a call waits for no turn: those by which people and programs
// see how the site is and find it, and those that last, which would keep others
// waiting. What one caller takes of them is bounded (throttled).
func isFree(procedure string) bool {
	switch procedure {
	case skerryv1connect.SiteServiceLocateProcedure, skerryv1connect.SiteServiceStatusProcedure, skerryv1connect.LeaseServiceLeasesProcedure:
		return true
	}
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(procedure, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	method, is := found.(protoreflect.MethodDescriptor)
	return err == nil && is && (method.IsStreamingClient() || method.IsStreamingServer())
}

// admission lets so many calls through at a time; the others wait. As long as all get
// their turn soon, who came first is first. When more come than can be worked on, in that
// order each would get its turn when nobody listens any more; so then the newest is
// first, and the oldest are refused at the end of their time ("Fail at Scale", Maurer
// 2015, adaptive LIFO). A refusal costs nearly what a small call does: that it comes late
// slows those down who call again at once.
//
// The agents' calls and streams, leases and the log itself never come here.
type admission struct {
	clock env.Clock

	mu      sync.Mutex
	working int
	waiting list.List // of *turn, the oldest first; empty while fewer than maxWorking work
}

// turn of a call that waits.
type turn struct {
	since time.Duration
	// comes once: whether the call may be worked on.
	comes chan bool
}

func newAdmission(clock env.Clock) *admission { return &admission{clock: clock} }

// admitted bounds how much is worked on at a time, whoever asks.
func (s *Server) admitted(next http.Handler) http.Handler {
	admission := newAdmission(s.Clock)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isFree(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		if !admission.enter(r.Context()) {
			if r.Context().Err() != nil {
				return // nobody listens
			}
			w.Header().Set("Retry-After", "1")
			writeError(w, r, problem.New(problem.Exhausted, "site "+s.Site, "%s has more to do than it can", s.Node).
				WithHint("nothing was changed; try again in a second, and call less often"))
			return
		}
		defer admission.leave()
		next.ServeHTTP(w, r)
	})
}

// enter waits for the call's turn; false when it did not come.
func (a *admission) enter(ctx context.Context) bool {
	waits := a.join()
	if waits == nil {
		return true
	}
	mine := waits.Value.(*turn)
	timer := a.clock.NewTimer(maxTurn)
	defer timer.Stop()
	select {
	case may := <-mine.comes:
		return may
	case <-timer.C():
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case may := <-mine.comes: // in the same moment
		return may
	default:
		a.waiting.Remove(waits)
		return false
	}
}

// join those who work, or those who wait: then it returns the place among them.
func (a *admission) join() *list.Element {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.working < maxWorking {
		a.working++
		return nil
	}
	if a.waiting.Len() == maxWaiting {
		a.next(a.waiting.Front(), false)
	}
	return a.waiting.PushBack(&turn{since: a.clock.Elapsed(), comes: make(chan bool, 1)})
}

// leave those who work: one that waits takes the place.
func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := a.waiting.Front()
	switch {
	case first == nil:
		a.working--
	case a.clock.Elapsed()-first.Value.(*turn).since < overdue:
		a.next(first, true)
	default:
		a.next(a.waiting.Back(), true)
	}
}

// next is the one whose waiting ends; may it be worked on?
func (a *admission) next(waits *list.Element, may bool) {
	a.waiting.Remove(waits).(*turn).comes <- may
}
