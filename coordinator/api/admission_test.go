package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/env"
)

func TestSoManyAreWorkedOnAtATimeAndWhatTellsOfTheSiteWaitsForNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Config: Config{Node: "n1", Site: "reef", Clock: bubbleClock{env.NewSystem().Clock, time.Now()}}}
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
		call := func(path string) *httptest.ResponseRecorder {
			recorder := httptest.NewRecorder()
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://n1:7600"+path, nil)
			request.Header.Set("Content-Type", "application/json")
			handler.ServeHTTP(recorder, request)
			return recorder
		}
		const more = 100
		var calls sync.WaitGroup
		var done atomic.Int64
		for range maxWorking + more {
			calls.Go(func() {
				if call(skerryv1connect.ResourceServiceApplyProcedure).Code == http.StatusOK {
					done.Add(1)
				}
			})
		}
		synctest.Wait()
		if working.Load() != maxWorking {
			t.Fatalf("%d are worked on", working.Load())
		}
		if call(skerryv1connect.SiteServiceStatusProcedure).Code != http.StatusOK || status.Load() != 1 {
			t.Error("how the site is had to wait")
		}
		refused := make(chan *httptest.ResponseRecorder, 1)
		time.Sleep(maxTurn / 2)
		calls.Go(func() { refused <- call(skerryv1connect.ResourceServiceListProcedure) })
		time.Sleep(maxTurn)
		got := <-refused
		if got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") != "1" || !strings.Contains(got.Body.String(), "n1 has more to do than it can") {
			t.Errorf("who waited in vain was told %d %v %s", got.Code, got.Header(), got.Body)
		}
		close(hold) // each now takes no time
		calls.Wait()
		if done.Load() != maxWorking || most.Load() != maxWorking {
			t.Errorf("%d were done, %d at a time", done.Load(), most.Load())
		}
	})
}

// TestWhoseTurnDoesNotComeIsRefused at the end of its time, or when it goes, and waits no
// more.
func TestWhoseTurnDoesNotComeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := busyAdmission(t)
		begun := time.Now()
		if a.enter(t.Context()) {
			t.Error("it came in")
		}
		if took := time.Since(begun); took != maxTurn {
			t.Errorf("it was refused after %s", took)
		}
		gone, cancel := context.WithTimeout(t.Context(), maxTurn/2)
		defer cancel()
		begun = time.Now()
		if a.enter(gone) || time.Since(begun) != maxTurn/2 {
			t.Errorf("who went waited for %s", time.Since(begun))
		}
		a.leave()
		if a.waiting.Len() != 0 || a.working != maxWorking-1 {
			t.Errorf("%d wait, %d work", a.waiting.Len(), a.working)
		}
	})
}

// TestWhoIsFirst: a burst is worked off in its order; when more come than can be worked
// on, the newest are done in time, and not all of them late.
func TestWhoIsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := busyAdmission(t)
		var waiting sync.WaitGroup
		var mu sync.Mutex
		var came []string
		enter := func(name string) {
			waiting.Go(func() {
				if !a.enter(t.Context()) {
					name += " refused"
				}
				mu.Lock()
				defer mu.Unlock()
				came = append(came, name)
			})
			synctest.Wait()
		}
		leave := func() {
			a.leave()
			synctest.Wait()
		}
		enter("a")
		time.Sleep(overdue - time.Millisecond)
		enter("b")
		enter("c")
		leave()
		time.Sleep(overdue)
		enter("d")
		leave()
		leave()
		time.Sleep(maxTurn - overdue)
		enter("e")
		leave()
		waiting.Wait()
		if diff := cmp.Diff([]string{"a", "d", "c", "b refused", "e"}, came); diff != "" {
			t.Error(diff)
		}
		if a.working != maxWorking {
			t.Errorf("%d work", a.working)
		}
	})
}

// TestWhereTooManyWaitTheOldestIsRefused: it has the least time left.
func TestWhereTooManyWaitTheOldestIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := busyAdmission(t)
		var waiting sync.WaitGroup
		oldest := make(chan bool, 1)
		waiting.Go(func() { oldest <- a.enter(t.Context()) })
		synctest.Wait()
		var came atomic.Int64
		for range maxWaiting {
			waiting.Go(func() {
				if a.enter(t.Context()) {
					came.Add(1)
				}
			})
		}
		synctest.Wait()
		if len(oldest) != 1 || <-oldest || a.waiting.Len() != maxWaiting {
			t.Errorf("the oldest still waits, or came in; %d wait", a.waiting.Len())
		}
		for range maxWaiting {
			a.leave()
		}
		waiting.Wait()
		if came.Load() != maxWaiting {
			t.Errorf("%d came in", came.Load())
		}
	})
}

// busyAdmission has as many that work as may.
func busyAdmission(t *testing.T) *admission {
	a := newAdmission(bubbleClock{env.NewSystem().Clock, time.Now()})
	for range maxWorking {
		if !a.enter(t.Context()) {
			t.Fatal("refused")
		}
	}
	return a
}

// bubbleClock has the elapsed time of a test's bubble; the machine's goes on in it.
type bubbleClock struct {
	env.Clock
	begun time.Time
}

func (c bubbleClock) Elapsed() time.Duration { return time.Since(c.begun) }

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
