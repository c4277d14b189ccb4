package lifecycle

import (
	"fmt"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// smallSite has so few nodes that all of them come back at once.
const smallSite = 100

// judgeNodes calls those that are in doubt, and tells the state who is lost
// and who is back.
func (s *step) judgeNodes() {
	for node := range s.view.AllNodes() {
		name := node.GetName()
		if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			delete(s.nodes, name)
			continue
		}
		w := s.follow(node)
		switch {
		case name == s.config.Self:
			w.lives(s.now)
			if w.isLost() {
				s.setState(name, skerryv1.NodeState_NODE_STATE_READY, "it coordinates the site")
			}
		case w.isLost():
			s.judgeLost(name, w)
		default:
			s.judgeReady(name, w)
		}
	}
	s.started = true
}

// follow takes over what the state says of a node.
func (s *step) follow(node *skerryv1.Node) *watch {
	w := s.nodes[node.GetName()]
	if w == nil {
		grace := s.config.Grace
		if s.started {
			grace = s.config.JoinGrace
		}
		grace += time.Duration(max(0, s.view.NodeCount()-smallSite)) * s.config.GraceEach
		w = newWatch(&s.config, s.now, grace)
		s.nodes[node.GetName()] = w
	}
	if node.GetState() == skerryv1.NodeState_NODE_STATE_LOST {
		if !w.isLost() {
			w.ready, w.lost = never, s.now-s.age(node)
			w.doubted = max(w.doubted, w.since)
		}
	} else if w.ready == never {
		w.ready, w.lost, w.doubted = s.now, never, never
	}
	return w
}

func (w *watch) isLost() bool { return w.lost != never }

// age of a node's state by the log's stamps: all that is left of what a
// predecessor saw.
func (s *step) age(node *skerryv1.Node) time.Duration {
	newest := s.view.Time().AsTime()
	if s.wall.After(newest) {
		newest = s.wall
	}
	return max(0, newest.Sub(node.GetStateSince().AsTime()))
}

func (s *step) judgeReady(name string, w *watch) {
	switch {
	case !w.suspected(s.now):
		w.misses = 0
		s.wakeAt(w.suspectAt())
	case w.dead(s.now):
		w.doubted = s.now
		s.setState(name, skerryv1.NodeState_NODE_STATE_LOST, w.reason(s.now))
	case s.now >= w.callAt():
		w.called, w.lastCall = s.now, s.now
		s.effects.Probe = append(s.effects.Probe, name)
		s.wakeAt(w.callAt())
	default:
		s.wakeAt(w.callAt())
	}
}

func (s *step) judgeLost(name string, w *watch) {
	if !w.suspected(s.now) && w.alive > w.doubted {
		s.setState(name, skerryv1.NodeState_NODE_STATE_READY,
			fmt.Sprintf("it is heard again, after %s", rounded(s.now-w.lost)))
	}
}

// reason why the node counts as lost, for people.
func (w *watch) reason(now time.Duration) string {
	seen := fmt.Sprintf("nothing was heard of it for %s", rounded(now-max(w.alive, w.since)))
	if w.failed > w.alive {
		seen = "the other nodes do not see it any more"
	}
	return fmt.Sprintf("%s, and it did not answer %d direct calls", seen, w.misses)
}

// rounded to what people read.
func rounded(d time.Duration) time.Duration {
	if d >= time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Millisecond)
}

func (s *step) setState(node string, to skerryv1.NodeState, reason string) {
	s.effects.Propose = append(s.effects.Propose, &sitev1.Entry{Change: &sitev1.Entry_SetNodeState{
		SetNodeState: &sitev1.SetNodeState{Node: node, State: to, Reason: reason},
	}})
}
