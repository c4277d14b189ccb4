package sitetime

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// Keeper is the site time of this process. It is safe for concurrent use.
type Keeper struct {
	clock env.Clock

	mu   sync.Mutex
	time Clock
}

// NewKeeper begins with the newest stamp that was kept. Without one it begins
// when this program was built: it is not earlier than that.
func NewKeeper(clock env.Clock, kept Stamp, built time.Time) *Keeper {
	if kept.Time.IsZero() {
		kept = Stamp{Time: built, Reference: built}
	}
	return &Keeper{clock: clock, time: Start(kept, clock.Elapsed())}
}

// Now is site time.
func (k *Keeper) Now() time.Time { return k.Read().Time }

// Read returns the present reading.
func (k *Keeper) Read() Stamp {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.time.At(k.clock.Elapsed())
}

// Observe takes over a stamp of the coordinator, made at this moment.
func (k *Keeper) Observe(stamp Stamp) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.time.Observe(stamp, k.clock.Elapsed())
}

// Reach takes over a stamp of the replicated state.
func (k *Keeper) Reach(stamp Stamp) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.time.Reach(stamp, k.clock.Elapsed())
}

// Forget drops what was known before an era began: stamps of the one before do
// not count any more. Until the first stamp of this one comes it shows a time at
// which nothing has expired.
func (k *Keeper) Forget(era uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.time.Last().Era < era {
		k.time = Start(Stamp{Era: era}, k.clock.Elapsed())
	}
}

// Advance makes the coordinator's next stamp.
func (k *Keeper) Advance(clocks []time.Time, voters int) Stamp {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.time.Advance(clocks, voters, k.clock.Elapsed())
}

// Message is a reading as it travels.
func (s Stamp) Message() *sitev1.SiteClock {
	return &sitev1.SiteClock{Time: timestamppb.New(s.Time), Reference: timestamppb.New(s.Reference), Era: s.Era}
}

// FromMessage reads what Message wrote; the zero stamp for nil.
func FromMessage(m *sitev1.SiteClock) Stamp {
	if m == nil {
		return Stamp{}
	}
	return Stamp{Time: m.GetTime().AsTime(), Reference: m.GetReference().AsTime(), Era: m.GetEra()}
}
