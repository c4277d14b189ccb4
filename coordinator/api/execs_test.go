package api

import (
	"context"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// execLog is the way into the log, which answers as told.
type execLog struct {
	again         int
	fails, keeps  error
	written, kept []*sitev1.ExecRecord
}

func (l *execLog) Write(_ context.Context, record *sitev1.ExecRecord) (bool, error) {
	if l.again > 0 {
		l.again--
		return true, nil
	}
	if l.fails != nil {
		return false, l.fails
	}
	l.written = append(l.written, record)
	return false, nil
}

func (l *execLog) Keep(record *sitev1.ExecRecord) error {
	if l.keeps == nil {
		l.kept = append(l.kept, record)
	}
	return l.keeps
}

func TestACommandIsInTheLogOrOnTheDiskBeforeItRuns(t *testing.T) {
	full := problem.New(problem.Exhausted, "spool", "it is full")
	cut := problem.New(problem.Unavailable, "audit log", "no quorum")
	for name, c := range map[string]struct {
		log           execLog
		written, kept int
		want          error
	}{
		"the log takes it":                 {log: execLog{}, written: 1},
		"there is no quorum":               {log: execLog{fails: cut}, kept: 1},
		"there is neither quorum nor room": {log: execLog{fails: cut, keeps: full}, want: full},
		"the log refuses it":               {log: execLog{fails: full}, want: full},
		"nobody decides any more who may":  {log: execLog{again: 1}, want: problem.New(problem.Forbidden, "", "")},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{Config: Config{Node: "n1", SiteTime: &clocks{}, Execs: &c.log, Rand: env.NewSystem().Rand}}
			ctx := withCaller(t.Context(), "spiffe://reef/operator/mia", "10.0.0.7")
			err := s.recordExec(ctx, &skerryv1.ExecStart{Placement: "web-1", Command: []string{"sh", "-c", "id"}, Tty: true})
			if problem.KindOf(err) != problem.KindOf(c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if len(c.log.written) != c.written || len(c.log.kept) != c.kept {
				t.Fatalf("%d written, %d kept", len(c.log.written), len(c.log.kept))
			}
			for _, record := range append(c.log.written, c.log.kept...) {
				exec := record.GetExec()
				if record.GetPrincipal() != "spiffe://reef/operator/mia" || record.GetFrom() != "10.0.0.7" || record.GetRequestId() == "" ||
					exec.GetProject() != "default" || exec.GetPlacement() != "web-1" || exec.GetCommand() != "sh -c id" || !exec.GetTty() || exec.GetWitness() != "n1" {
					t.Errorf("the record is %v", record)
				}
			}
		})
	}
}
