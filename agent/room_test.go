package agent

import (
	"strings"
	"testing"
)

func TestWhatHasRunOutMustBeBackAmply(t *testing.T) {
	ample := supply{dir: "/state", free: diskRoom + 1, descriptors: descriptorRoom}
	for _, test := range []struct {
		name   string
		change func(*supply)
		before string
		want   string
	}{
		{"all is there", func(*supply) {}, "", ""},
		{"the disk is full", func(s *supply) { s.free = diskFloor - 1 }, "", diskFull},
		{"the disk has just room enough", func(s *supply) { s.free = diskFloor }, "", ""},
		{"that is not enough after it was full", func(s *supply) { s.free = diskRoom }, diskFull, diskFull},
		{"there is room again", func(*supply) {}, diskFull, ""},
		{"the disk takes no writes", func(s *supply) { s.readOnly = true }, "", diskReadOnly},
		{"the disk takes no writes, and is full", func(s *supply) { s.readOnly, s.free = true, 0 }, diskFull, diskReadOnly},
		{"it takes writes again", func(*supply) {}, diskReadOnly, ""},
		{"no descriptors are left", func(s *supply) { s.descriptors = 0 }, "", descriptorsGone},
		{"a few are left", func(s *supply) { s.descriptors = descriptorFloor }, "", ""},
		{"those of the replica, which has ended", func(s *supply) { s.descriptors = descriptorRoom - 1 }, descriptorsGone, descriptorsGone},
		{"many are left again", func(*supply) {}, descriptorsGone, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := ample
			test.change(&s)
			got := s.lack(lack{kind: test.before})
			if got.kind != test.want || (got.why == "") != (test.want == "") {
				t.Errorf("it is %+v, it should be %q", got, test.want)
			}
			if strings.HasPrefix(got.kind, "Disk") && !strings.Contains(got.why, "/state") {
				t.Errorf("it does not name the disk: %s", got.why)
			}
		})
	}
}
