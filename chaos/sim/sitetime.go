package sim

import (
	"time"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/sitetime"
)

// clockAge is how old a voter's reading of its clock may be (coordinator/sitetime.go).
const clockAge = 10 * time.Second

// rightWithin is how far a clock is off at most that nobody set wrong.
const rightWithin = 5 * time.Second

// reading is what a node's wall clock showed when it was heard.
type reading struct {
	wall  time.Time
	heard time.Duration
}

// stamp is the coordinator's next stamp, made from the voters' clocks, as
// coordinator.Voter makes it.
func (v *voter) stamp() sitetime.Stamp {
	view, keeper := v.store.View(), v.process.self.SiteTime()
	if view.SiteID() == "" { // whoever begins a site stands for the clock of its first node
		keeper.Observe(sitetime.Stamp{Time: v.host.now(), Reference: v.host.now()})
	}
	keeper.Reach(view.Stamp())
	known, voters := v.votersClocks(view)
	if v.world.has(OwnClock) {
		known, voters = []time.Time{v.host.now()}, 1
	}
	return keeper.Advance(known, voters)
}

func (v *voter) votersClocks(view *state.View) (known []time.Time, voters int) {
	now := v.host.elapsed()
	for _, node := range view.Voters() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		voters++
		read, ok := v.clocks[node.GetName()]
		switch {
		case node.GetName() == v.host.name:
			known = append(known, v.host.now())
		case ok && now-read.heard <= clockAge:
			known = append(known, read.wall.Add(now-read.heard))
		}
	}
	return known, voters
}

// knowsMost tells whether the clocks of most voters are known that are right.
func (v *voter) knowsMost() bool {
	known, voters := v.votersClocks(v.store.View())
	truth, right := simulationStart.Add(v.world.kernel.now), 0
	for _, clock := range known {
		if clock.Sub(truth).Abs() <= rightWithin {
			right++
		}
	}
	return 2*right > voters
}
