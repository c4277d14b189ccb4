package hosts

import (
	"testing"
	"time"
)

func TestTheWitnessSeesTwoThatLiveAtOnce(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	life := func(name string, from, to int, counts ...Count) *Life {
		return &Life{Name: name, First: begin.Add(time.Duration(from) * time.Second), Last: begin.Add(time.Duration(to) * time.Second), Counts: counts}
	}
	for _, c := range []struct {
		name  string
		lives []*Life
		want  int
	}{
		{"one after the other", []*Life{life("a", 0, 5, Count{First: 1, Last: 500}), life("b", 5, 9, Count{First: 1, Last: 400})}, 0},
		{"two at once", []*Life{life("a", 0, 6, Count{First: 1, Last: 600}), life("b", 5, 9, Count{First: 1, Last: 400})}, 1},
		{"one that moves, and comes back", []*Life{life("a", 0, 9, Count{First: 1, Last: 300}, Count{First: 304, Last: 500}, Count{First: 501, Last: 800})}, 0},
		{"one that goes on where it was", []*Life{life("a", 0, 9, Count{First: 1, Last: 350}, Count{First: 304, Last: 500})}, 1},
		{"a copy that is heard for a moment", []*Life{life("a", 0, 9, Count{First: 1, Last: 800}, Count{First: 304, Last: 304})}, 1},
		{"a copy that begins again where the other one was long ago", []*Life{life("a", 0, 9, Count{First: 1, Last: 300}, Count{First: 301, Last: 500}, Count{First: 250, Last: 280})}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &Witness{lives: c.lives}
			if found := w.Overlaps(); len(found) != c.want {
				t.Errorf("it sees %q, want %d", found, c.want)
			}
		})
	}
}
