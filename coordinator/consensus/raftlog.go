package consensus

import (
	"context"
	"fmt"
	"log/slog"
)

// raftLogger brings raft's own words into ours. What raft calls information
// is of use only to somebody who debugs raft.
type raftLogger struct{ logger *slog.Logger }

func (l raftLogger) log(level slog.Level, args []any) {
	if l.logger.Enabled(context.Background(), level) {
		l.logger.Log(context.Background(), level, "raft: "+fmt.Sprint(args...))
	}
}

func (l raftLogger) logf(level slog.Level, format string, args []any) {
	if l.logger.Enabled(context.Background(), level) {
		l.logger.Log(context.Background(), level, "raft: "+fmt.Sprintf(format, args...))
	}
}

func (l raftLogger) Debug(v ...any)                   { l.log(slog.LevelDebug, v) }
func (l raftLogger) Debugf(format string, v ...any)   { l.logf(slog.LevelDebug, format, v) }
func (l raftLogger) Info(v ...any)                    { l.log(slog.LevelDebug, v) }
func (l raftLogger) Infof(format string, v ...any)    { l.logf(slog.LevelDebug, format, v) }
func (l raftLogger) Warning(v ...any)                 { l.log(slog.LevelDebug, v) }
func (l raftLogger) Warningf(format string, v ...any) { l.logf(slog.LevelDebug, format, v) }
func (l raftLogger) Error(v ...any)                   { l.log(slog.LevelError, v) }
func (l raftLogger) Errorf(format string, v ...any)   { l.logf(slog.LevelError, format, v) }
func (l raftLogger) Fatal(v ...any)                   { panic(fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(format string, v ...any)   { panic(fmt.Sprintf(format, v...)) }
func (l raftLogger) Panic(v ...any)                   { panic(fmt.Sprint(v...)) }
func (l raftLogger) Panicf(format string, v ...any)   { panic(fmt.Sprintf(format, v...)) }
