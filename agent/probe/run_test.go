package probe

import (
	"strings"
	"testing"
)

func TestARunOfTheMachineIsTheSameAllAlong(t *testing.T) {
	first, err := Run()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Run()
	if boot, start, _ := strings.Cut(first, "/"); err != nil || first != again || len(boot) != 36 || start == "" {
		t.Errorf("it is %q, then %q, %v", first, again, err)
	}
}
