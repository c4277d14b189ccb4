package pebblelog

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// complainEvery is how often an error of the engine is told: it tries again at
// once and for ever, for instance when the disk is full.
const complainEvery = 10 * time.Second

// quiet keeps Pebble's talk about its compactions out of the log.
type quiet struct {
	logger *slog.Logger
	fatal  func(why string)

	mu         sync.Mutex
	complained time.Time
	swallowed  int
}

// Quiet is what a voter's engines talk to. fatal is told why an engine cannot go on,
// before the process ends.
func Quiet(logger *slog.Logger, fatal func(why string)) pebble.Logger {
	return &quiet{logger: logger, fatal: fatal}
}

func (q *quiet) Infof(format string, args ...any) {
	q.logger.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (q *quiet) Errorf(format string, args ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); now.Sub(q.complained) >= complainEvery {
		q.logger.Error("pebble: "+fmt.Sprintf(format, args...), "likewise", q.swallowed)
		q.complained, q.swallowed = now, 0
		return
	}
	q.swallowed++
}

// Fatalf halts the voter: the engine cannot go on.
func (q *quiet) Fatalf(format string, args ...any) {
	why := "pebble: " + fmt.Sprintf(format, args...)
	q.fatal(why)
	panic(why)
}
