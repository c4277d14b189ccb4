package api

import (
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
	// work. maxQueued more wait for their turn, each for maxTurn at most.
	maxWorking = 64
	maxQueued  = 512
	maxTurn    = time.Second
	// When some have been waiting all the time for overdue, more come than can be
	// worked on, and who waits long is answered when nobody listens any more: then
	// each waits for shortTurn at most.
	overdue   = 500 * time.Millisecond
	shortTurn = 350 * time.Millisecond
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

// admission lets so many calls through at a time. Who comes when too many wait is
// refused at once: a call that nobody waits for any more would only delay others.
// The agents' calls and streams, leases and the log itself never come here.
type admission struct {
	clock   env.Clock
	working chan struct{}
	queued  chan struct{}

	mu sync.Mutex
	// waiting calls, and since when there have been some without a break.
	waiting int
	since   time.Duration
}

func newAdmission(clock env.Clock) *admission {
	return &admission{clock: clock, working: make(chan struct{}, maxWorking), queued: make(chan struct{}, maxQueued)}
}

// admitted bounds how much is worked on at a time, whoever asks.
func (s *Server) admitted(next http.Handler) http.Handler {
	admission := newAdmission(s.Clock)
	tooMuch := newRefusal("1", problem.New(problem.Exhausted, "site "+s.Site, "%s has more to do than it can", s.Node).
		WithHint("nothing was changed; try again in a second, and call less often"))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isFree(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		if !admission.enter(r) {
			tooMuch.write(w, r)
			return
		}
		defer func() { <-admission.working }()
		next.ServeHTTP(w, r)
	})
}

// enter waits for the call's turn; false when it did not come.
func (a *admission) enter(r *http.Request) bool {
	select {
	case a.working <- struct{}{}:
		return true
	default:
	}
	select {
	case a.queued <- struct{}{}:
		defer func() { <-a.queued }()
	default:
		return false
	}
	timer := a.clock.NewTimer(a.wait())
	defer timer.Stop()
	defer a.leave()
	select {
	case a.working <- struct{}{}:
		return true
	case <-timer.C():
		return false
	case <-r.Context().Done():
		return false
	}
}

// wait in the queue, for how long at most.
func (a *admission) wait() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock.Elapsed()
	if a.waiting == 0 {
		a.since = now
	}
	a.waiting++
	if now-a.since >= overdue {
		return shortTurn
	}
	return maxTurn
}

// leave the queue.
func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting--
}
