package check

import "testing"

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
