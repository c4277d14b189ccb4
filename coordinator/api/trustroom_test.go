package api

import (
	"strings"
	"testing"
)

func TestTheEndOfTheChainOfTrustIsWarnedOfLongBefore(t *testing.T) {
	for used, warned := range map[int]bool{1: false, 4999: false, 5000: true, 10_000: true} {
		if got := roomText("versions", used, 10_000); strings.Contains(got, "of the 10000 versions") != warned {
			t.Errorf("with %d it says %q", used, got)
		}
	}
}
