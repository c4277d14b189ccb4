package pebblelog

import (
	"fmt"
	"log/slog"
)

// quiet keeps Pebble's talk about its compactions out of the log.
type quiet struct{ logger *slog.Logger }

func (q quiet) Infof(format string, args ...any) {
	q.logger.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (q quiet) Errorf(format string, args ...any) {
	q.logger.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf halts the voter: the engine cannot go on.
func (q quiet) Fatalf(format string, args ...any) {
	panic("pebble: " + fmt.Sprintf(format, args...))
}
