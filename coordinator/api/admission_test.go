package api

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

func TestTooMuchToDoIsRefusedAtOnceAndWhatWaitsGetsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Config: Config{Node: "n1", Site: "reef", Clock: env.NewSystem().Clock}}
		hold := make(chan struct{})
		var working, most, status atomic.Int64
		handler := s.admitted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == skerryv1connect.SiteServiceStatusProcedure {
				status.Add(1)
				return
			}
			now := working.Add(1)
			defer working.Add(-1)
			if now > most.Load() {
				most.Store(now)
			}
			<-hold
		}))
		call := func(path string) int {
			recorder := httptest.NewRecorder()
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://n1:7600"+path, nil)
			request.Header.Set("Content-Type", "application/json")
			handler.ServeHTTP(recorder, request)
			return recorder.Code
		}
		var calls sync.WaitGroup
		var done, refused atomic.Int64
		try := func(n int) {
			for range n {
				calls.Go(func() {
					if call(skerryv1connect.ResourceServiceApplyProcedure) == http.StatusOK {
						done.Add(1)
					} else {
						refused.Add(1)
					}
				})
			}
			synctest.Wait()
		}
		try(maxWorking + maxQueued)
		if working.Load() != maxWorking || refused.Load() != 0 {
			t.Fatalf("%d are worked on, %d were refused", working.Load(), refused.Load())
		}
		try(10)
		if refused.Load() != 10 {
			t.Errorf("%d of 10 too many were refused at once", refused.Load())
		}
		if call(skerryv1connect.SiteServiceStatusProcedure) != http.StatusOK || status.Load() != 1 {
			t.Error("how the site is had to wait")
		}
		close(hold) // each now takes no time
		calls.Wait()
		if done.Load() != maxWorking+maxQueued || most.Load() != maxWorking {
			t.Errorf("%d were done, %d at a time", done.Load(), most.Load())
		}
	})
}

func TestWhoseTurnDoesNotComeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(env.NewSystem().Clock)
		for range maxWorking {
			a.working <- struct{}{}
		}
		if a.enter(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)) {
			t.Error("it came in")
		}
		if len(a.queued) != 0 {
			t.Error("it still waits")
		}
	})
}

// TestWhereManyWaitAllTheTimeEachWaitsShortly: a burst is worked off, a flood is refused
// before nobody listens any more.
func TestWhereManyWaitAllTheTimeEachWaitsShortly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(bubbleClock{env.NewSystem().Clock, time.Now()})
		for range maxWorking {
			a.working <- struct{}{}
		}
		waited := func() time.Duration {
			begun := time.Now()
			if a.enter(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)) {
				t.Error("it came in")
			}
			return time.Since(begun)
		}
		if took := waited(); took != maxTurn {
			t.Errorf("the first one waited for %s", took)
		}
		var others sync.WaitGroup
		others.Go(func() { waited() })
		time.Sleep(overdue)
		if took := waited(); took != shortTurn {
			t.Errorf("one waited for %s while others did all the time", took)
		}
		others.Wait()
		if took := waited(); took != maxTurn {
			t.Errorf("one waited for %s after nobody had", took)
		}
	})
}

// bubbleClock has the elapsed time of a test's bubble; the machine's goes on in it.
type bubbleClock struct {
	env.Clock
	begun time.Time
}

func (c bubbleClock) Elapsed() time.Duration { return time.Since(c.begun) }

// TestARefusalIsMadeOnceAndReadsLikeAnyOther: in each form of the protocol.
func TestARefusalIsMadeOnceAndReadsLikeAnyOther(t *testing.T) {
	f := newRefusal("1", problem.New(problem.Exhausted, "site reef", "too much").WithHint("wait"))
	for _, kind := range []string{"application/proto", "application/json", "application/grpc"} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://n1:7600/", nil)
		request.Header.Set("Content-Type", kind)
		got, want := httptest.NewRecorder(), httptest.NewRecorder()
		f.write(got, request)
		f.compose(want, request)
		if got.Code != want.Code || got.Body.String() != want.Body.String() {
			t.Errorf("%s: %d %q, not %d %q", kind, got.Code, got.Body, want.Code, want.Body)
		}
		for _, recorder := range []*httptest.ResponseRecorder{got, want} {
			recorder.Header().Del("Trailer") // of gRPC, in any order
		}
		if diff := cmp.Diff(want.Header(), got.Header()); diff != "" || got.Header().Get("Retry-After") != "1" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

func TestWhatLastsAndWhatTellsOfTheSiteWaitsForNoTurn(t *testing.T) {
	for procedure, free := range map[string]bool{
		skerryv1connect.SiteServiceStatusProcedure:         true,
		skerryv1connect.SiteServiceLocateProcedure:         true,
		skerryv1connect.SiteServiceEventsProcedure:         true,
		skerryv1connect.PlacementServiceLogsProcedure:      true,
		skerryv1connect.PlacementServiceExecProcedure:      true,
		skerryv1connect.ImageServiceLoadImageProcedure:     true,
		skerryv1connect.BackupServiceCreateBackupProcedure: true,
		skerryv1connect.ResourceServiceApplyProcedure:      false,
		skerryv1connect.ResourceServiceListProcedure:       false,
		skerryv1connect.ForesightServiceWhatIfProcedure:    false,
		"/skerry.v1.NoSuchService/Call":                    false,
		"/":                                                false,
	} {
		if isFree(procedure) != free {
			t.Errorf("%s waits for its turn: %t", procedure, free)
		}
	}
}
