package lifecycle

import (
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// watched drives one node's watch by hand, in milliseconds.
type watched struct {
	*site
	effects Effects
}

func newWatched(t *testing.T) *watched {
	w := &watched{site: newSite(t, 2)}
	w.at(0)
	return w
}

func (w *watched) at(ms int) {
	w.now = time.Duration(ms) * time.Millisecond
	w.core.Heard("n1", w.now)
	w.effects = w.core.Step(w.now, w.wall(), w.view(), Progress{})
}

// asks what the last step asks for: a probe, or a state of n2.
func (w *watched) asks() string {
	for _, entry := range w.effects.Propose {
		switch entry.GetSetNodeState().GetState() {
		case skerryv1.NodeState_NODE_STATE_LOST:
			return "lost"
		case skerryv1.NodeState_NODE_STATE_READY:
			return "ready"
		}
	}
	if len(w.effects.Probe) > 0 {
		return "probe"
	}
	return ""
}

func (w *watched) carryOut() {
	for _, entry := range w.effects.Propose {
		w.apply(entry)
	}
}

func TestSuspicion(t *testing.T) {
	const call, fail, answer, heard, gossipFailed, gossipAlive, carryOut, newTerm = "call", "fail", "answer", "heard", "gossip failed", "gossip alive", "carry out", "new term"
	type event struct {
		at   int
		what string
		want string
	}
	for _, test := range []struct {
		name   string
		events []event
	}{
		{"a new coordinator gives a grace", []event{{690, "", ""}, {700, "", "probe"}}},
		{"800 ms of silence are suspicious", []event{{100, heard, ""}, {890, "", ""}, {900, "", "probe"}}},
		{"who is heard is not suspected", []event{{100, heard, ""}, {890, heard, ""}, {1600, "", ""}}},
		{"gossip is believed as far as a call", []event{{100, heard, ""}, {150, gossipFailed, "probe"}, {160, fail, ""}}},
		{"gossip changes its mind", []event{{100, heard, ""}, {150, gossipFailed, "probe"}, {200, gossipAlive, ""}, {210, fail, ""}, {400, "", ""}}},
		{"and then the call does not count any more", []event{{100, heard, ""}, {150, gossipFailed, "probe"}, {160, fail, ""}, {170, gossipAlive, ""},
			{400, gossipFailed, "probe"}, {410, fail, ""}, {650, "", "probe"}, {660, fail, "lost"}}},
		{"a heartbeat refutes gossip", []event{{100, heard, ""}, {150, gossipFailed, "probe"}, {200, heard, ""}, {210, fail, ""}, {600, "", ""}}},
		{"one failed call is not enough", []event{{700, "", "probe"}, {800, fail, ""}, {950, "", "probe"}, {1000, answer, ""}, {1700, "", ""}, {1800, "", "probe"}}},
		{"two failed calls in a row are", []event{{700, "", "probe"}, {710, fail, ""}, {949, "", ""}, {950, "", "probe"}, {960, fail, "lost"}, {970, "", "lost"}, {980, carryOut, ""}}},
		{"a failed call that is older than a sign of life does not count", []event{
			{700, "", "probe"}, {750, heard, ""}, {800, fail, ""}, {1550, "", "probe"}, {1560, fail, ""}, {1800, "", "probe"}, {1810, fail, "lost"}}},
		{"a call without a result is made again", []event{{700, "", "probe"}, {1600, "", ""}, {1700, "", "probe"}}},
		{"who is heard again is back", []event{{700, "", "probe"}, {710, fail, ""}, {950, "", "probe"}, {960, fail, "lost"}, {970, carryOut, ""},
			{2000, gossipAlive, ""}, {2010, heard, "ready"}, {2020, "", "ready"}, {2030, carryOut, ""}}},
		{"what was heard before it was lost does not count", []event{{900, heard, ""}, {1000, gossipFailed, "probe"}, {1010, fail, ""}, {1250, "", "probe"}, {1260, fail, "lost"},
			{1270, carryOut, ""}, {1280, gossipAlive, ""}, {1300, heard, "ready"}}},
		{"a new coordinator brings back who is there", []event{{700, "", "probe"}, {710, fail, ""}, {950, "", "probe"}, {960, fail, "lost"}, {970, carryOut, ""},
			{1000, newTerm, ""}, {1100, "", ""}, {1200, heard, "ready"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWatched(t)
			for _, e := range test.events {
				at := time.Duration(e.at) * time.Millisecond
				w.now = at
				switch e.what {
				case fail, answer:
					w.core.Probed("n2", e.what == answer, at)
				case heard:
					w.core.Heard("n2", at)
				case gossipFailed:
					w.core.GossipFailed("n2", at)
				case gossipAlive:
					w.core.GossipAlive("n2", at)
				case carryOut:
					w.carryOut()
				case newTerm:
					w.newTerm()
				}
				w.at(e.at)
				if got := w.asks(); got != e.want {
					t.Fatalf("after %q at %d ms it asks for %q, want %q", e.what, e.at, got, e.want)
				}
			}
		})
	}
}

func TestANodeThatJoinsHasMoreTime(t *testing.T) {
	s := newSite(t, 2)
	s.pass(3 * time.Second)
	s.join("n3", "z3")
	s.nodes["n3"].off = true
	s.pass(4900 * time.Millisecond)
	if state := s.view().Node("n3").GetState(); state != skerryv1.NodeState_NODE_STATE_READY {
		t.Errorf("n3 is %v before it could come up", state)
	}
	s.pass(time.Second)
	if state := s.view().Node("n3").GetState(); state != skerryv1.NodeState_NODE_STATE_LOST {
		t.Errorf("n3 is %v though it never came", state)
	}
}

func TestTheCoordinatorIsNeverInDoubt(t *testing.T) {
	s := newSite(t, 2)
	s.nodes["n1"].cut = true
	s.pass(5 * time.Second)
	if state := s.view().Node("n1").GetState(); state != skerryv1.NodeState_NODE_STATE_READY {
		t.Errorf("n1 is %v", state)
	}
}

func TestALostNodeThatIsElectedIsReady(t *testing.T) {
	s := newSite(t, 2)
	s.pass(time.Second)
	s.nodes["n2"].off = true
	s.pass(5 * time.Second)
	s.core = New(Defaults("n2"), s.now)
	s.step()
	if state := s.view().Node("n2").GetState(); state != skerryv1.NodeState_NODE_STATE_READY {
		t.Errorf("n2 is %v", state)
	}
}

func TestWakeComesInTime(t *testing.T) {
	w := newWatched(t)
	w.at(100)
	w.core.Heard("n2", w.now)
	w.at(400)
	if w.effects.Wake != 500*time.Millisecond {
		t.Errorf("it wakes in %s, want in 500ms, when n2 becomes suspicious", w.effects.Wake)
	}
}
