package agent

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"

	"skerry.dev/agent/runtime"
)

func TestDirectoriesThatTakeMoreThanTheyHaveAreTold(t *testing.T) {
	volumes := []*skerryv1.Volume{{Project: "p", Name: "a", Size: "1Mi"}, {Project: "p", Name: "b", Size: "1Mi"}, {Project: "q", Name: "a", Size: "8Mi"}}
	held := []runtime.HeldVolume{
		{Project: "p", Name: "a", Used: 2 << 20, Directory: true}, {Project: "p", Name: "b", Used: 2 << 20},
		{Project: "q", Name: "a", Used: 2 << 20, Directory: true}, {Project: "q", Name: "unknown", Used: 2 << 20, Directory: true},
	}
	const want = "a of project p takes 2 MiB, and has 1Mi: nothing stops what writes there; make room, or let it grow"
	if got := overSize(volumes, held); got != want {
		t.Errorf("it tells %q, want %q", got, want)
	}
	if got := overSize(volumes, held[1:]); got != "" {
		t.Errorf("nothing is too large, and it tells %q", got)
	}
}
