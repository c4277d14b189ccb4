package check

import (
	"testing"
	"time"
)

func TestWhatIsExclusiveRunsAgain(t *testing.T) {
	if v := RunsAgain("db", time.Minute, time.Minute); v != nil {
		t.Error(v)
	}
	if v := RunsAgain("db", 2*time.Minute, time.Minute); v == nil || v.Rule != ExclusiveRuns {
		t.Errorf("not for two minutes: %v", v)
	}
}

func TestWhatIsExclusiveRunsOnce(t *testing.T) {
	for _, running := range [][]string{nil, {"db-1 on n1"}} {
		if v := RunsOnce("db", running); v != nil {
			t.Errorf("%v: %v", running, v)
		}
	}
	if v := RunsOnce("db", []string{"db-1 on n1", "db-2 on n2"}); v == nil || v.Rule != ExclusiveOnce {
		t.Errorf("two at once: %v", v)
	}
}
