package manifest

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWhatReachesItsNode(t *testing.T) {
	for _, test := range []struct {
		name, field string
		container   *skerryv1.Container
	}{
		{"nothing", "", nil},
		{"a tmpfs and a port below 1024", "", &skerryv1.Container{Mounts: []*skerryv1.Mount{{Tmpfs: "1Mi"}}, AddCapabilities: []string{"NET_BIND_SERVICE"}}},
		{"a directory of the node", "container.mounts[1].hostPath", &skerryv1.Container{Mounts: []*skerryv1.Mount{{Tmpfs: "1Mi"}, {HostPath: "/srv", ReadOnly: true}}}},
		{"a capability", "container.addCapabilities[1]", &skerryv1.Container{AddCapabilities: []string{"CHOWN", "SYS_ADMIN"}}},
		{"a capability that nobody knows", "container.addCapabilities[0]", &skerryv1.Container{AddCapabilities: []string{"NEW"}}},
	} {
		if field, how := ReachesHost(&skerryv1.Workload{Container: test.container}); field != test.field || (field == "") != (how == "") {
			t.Errorf("%s: %q %q, want %q", test.name, field, how, test.field)
		}
	}
}
