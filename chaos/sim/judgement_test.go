package sim

import (
	"testing"
	"time"
)

func TestAJudgementLastsWhileTimeCannotChangeIt(t *testing.T) {
	begin := simulationStart
	j := judgement{from: begin, to: begin.Add(time.Hour)}
	for _, test := range []struct {
		name string
		j    judgement
		now  time.Time
		want bool
	}{
		{"the moment it was made", j, begin, true},
		{"the last moment of the first that expires", j, begin.Add(time.Hour), true},
		{"after that", j, begin.Add(time.Hour + 1), false},
		{"site time that was set back", j, begin.Add(-1), false},
		{"one that may turn out otherwise", judgement{}, begin, false},
	} {
		if got := test.j.lasts(test.now); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
