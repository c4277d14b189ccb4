package lifecycle

import "testing"

// A call that is refused at once says that the machine is up.
func TestAMachineOnWhichNobodyListensIsGivenTime(t *testing.T) {
	lostAt := func(answer func(*watched)) int {
		w := newWatched(t)
		w.core.Heard("n2", 0)
		for ms := 0; ms <= 10_000; ms += 50 {
			w.at(ms)
			switch w.asks() {
			case "lost":
				return ms
			case "probe":
				answer(w)
			}
		}
		return -1
	}
	silent := lostAt(func(w *watched) { w.core.Probed("n2", false, w.now) })
	refused := lostAt(func(w *watched) { w.core.Refused("n2", w.now) })
	if silent < 800 || silent > 2500 {
		t.Errorf("a machine that does not answer is lost after %d ms", silent)
	}
	if refused < 5000 || refused > 6500 {
		t.Errorf("a machine that refuses is lost after %d ms", refused)
	}
}
