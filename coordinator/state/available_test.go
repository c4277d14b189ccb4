package state

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestHowManyPlacementsAWorkloadCanSpare(t *testing.T) {
	for _, test := range []struct {
		name      string
		replicas  uint32
		least     string
		healthy   int
		sick      int
		otherwise int
		want      int
	}{
		{"one at a time by default", 3, "", 3, 0, 1, 1},
		{"none while one is missing", 3, "", 2, 1, 1, 0},
		{"also the only one", 1, "", 1, 0, 1, 1},
		{"one more that runs besides can go", 3, "", 4, 0, 1, 2},
		{"all of them when nobody asks for any", 3, "", 3, 0, Unlimited, Unlimited},
		{"as many as are more than asked for", 5, "2", 5, 0, 1, 3},
		{"a share is rounded up", 5, "50%", 5, 0, 1, 2},
		{"none when all must stay", 3, "100%", 3, 0, 1, 0},
		{"one of those when another runs besides", 3, "100%", 4, 0, 1, 1},
		{"what is asked for counts also where others are unlimited", 3, "2", 3, 0, Unlimited, 1},
		{"never less than none", 3, "3", 1, 2, 1, 0},
		{"fewer replicas than must stay", 1, "2", 2, 0, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &skerryv1.Workload{Name: "web", Replicas: proto.Uint32(test.replicas), MinAvailable: test.least}
			var all []*skerryv1.Placement
			for i := range test.healthy + test.sick {
				p := &skerryv1.Placement{
					Name: fmt.Sprintf("web-%d", i), Node: "n1", Spec: w, Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
					Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING},
				}
				if i >= test.healthy {
					p.Status.Phase = skerryv1.Phase_PHASE_BACKOFF
				}
				all = append(all, p)
			}
			if got := Spare(w, all, test.otherwise); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
