package check

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	isGood    = skerryv1.RevisionState_REVISION_STATE_GOOD
	isRolling = skerryv1.RevisionState_REVISION_STATE_ROLLING
)

// revision of this generation, with a template of its own.
func revision(generation uint64, state skerryv1.RevisionState) *skerryv1.Revision {
	return &skerryv1.Revision{Generation: generation, LastGeneration: generation, State: state, Template: template(generation)}
}

func template(generation uint64) *skerryv1.Workload {
	return &skerryv1.Workload{Container: &skerryv1.Container{Image: string(rune('a' + generation))}}
}

// updated is web with two templates and placements of these generations.
func updated(newest skerryv1.RevisionState, generations ...uint64) Update {
	replicas := uint32(3)
	u := Update{
		Name: "web", Workload: &skerryv1.Workload{Name: "web", Replicas: &replicas, Generation: 2},
		Revisions: []*skerryv1.Revision{revision(1, isGood), revision(2, newest)},
		Serves:    func(p *skerryv1.Placement) bool { return p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_RUNNING },
	}
	for i, generation := range generations {
		u.Placements = append(u.Placements, &skerryv1.Placement{
			Name: "web-" + string(rune('0'+i)), Node: "n1", Generation: generation, Spec: template(generation),
			Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING},
		})
	}
	return u
}

func served(u Update, most int) Update {
	left := most
	u.Serves = func(*skerryv1.Placement) bool { left--; return left >= 0 }
	return u
}

func TestRollouts(t *testing.T) {
	pause, abort := skerryv1.SteerAction_STEER_ACTION_PAUSE, skerryv1.SteerAction_STEER_ACTION_ABORT
	rolling, canary := &skerryv1.Update{Strategy: manifest.Rolling}, &skerryv1.Update{Strategy: manifest.Canary, Canary: 1}
	blueGreen := &skerryv1.Update{Strategy: manifest.BlueGreen}
	for _, test := range []struct {
		name  string
		asked *skerryv1.Update
		steer skerryv1.SteerAction
		// first and then are what there is after two entries; somebody steers in
		// between.
		first, then Update
		want        Rule
	}{
		{"an update goes on", rolling, 0, updated(isRolling, 1, 1), updated(isRolling, 1, 1, 2), ""},
		{"one that is paused goes on", rolling, pause, updated(isRolling, 1, 2), updated(isRolling, 1, 2, 2), Paused},
		{"one that is paused gets a good one more", rolling, pause, updated(isRolling, 1, 2), updated(isRolling, 1, 2, 1), ""},
		{"one that is paused and becomes good is scaled", rolling, pause, updated(isGood, 2, 2), updated(isGood, 2, 2, 2), ""},
		{"one that was ended goes on", rolling, abort, updated(isRolling, 1, 2), updated(isRolling, 1, 2), OldTemplate},
		{"something else than the newest and the good one is made", rolling, 0, updated(isRolling, 1), updated(isRolling, 1, 3), OldTemplate},
		{"a canary has its share", canary, 0, updated(isRolling, 1, 1), updated(isRolling, 1, 1, 2), ""},
		{"a canary has more", canary, 0, updated(isRolling, 1, 2), updated(isRolling, 1, 2, 2), Share},
		{"a canary that is good has all", canary, 0, updated(isGood, 1, 2), updated(isGood, 1, 2, 2), ""},
		{"one color serves", blueGreen, 0, updated(isRolling, 1, 1), updated(isRolling, 1, 1), ""},
		{"both serve", blueGreen, 0, updated(isRolling, 1, 1), updated(isRolling, 1, 2), OneColor},
		{"none serves any more", blueGreen, 0, updated(isRolling, 1, 1), served(updated(isRolling, 1, 1), 0), OneColor},
		{"fewer serve", blueGreen, 0, updated(isRolling, 1, 1), served(updated(isRolling, 1, 1), 1), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := NewRollouts()
			if v := r.Observe(test.asked, test.first, true); v != nil {
				t.Fatal(v)
			}
			got := first(r.Steered(test.steer, test.first, test.then))
			if got == "" {
				got = first(r.Observe(test.asked, test.then, true))
			}
			if got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}
