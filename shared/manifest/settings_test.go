package manifest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestSettingsHaveDefaultsAndBounds(t *testing.T) {
	const begin = "kind: Settings\nname: site\n"
	whole := Lifetimes{Node: 90 * day, Operator: 90 * day, Workload: 14 * day, Authority: 10950 * day}
	short := whole
	short.Node, short.Workload = 36*time.Hour, 2*day
	for name, c := range map[string]struct {
		text string
		want Lifetimes
		says string
	}{
		"nothing said":       {begin, whole, ""},
		"some of them":       {begin + "lifetimes: {node: 36h, workload: 2d}\n", short, ""},
		"too short":          {begin + "lifetimes: {node: 10m}\n", Lifetimes{}, "between 1h0m0s and 730d"},
		"too long":           {begin + "lifetimes: {operator: 731d}\n", Lifetimes{}, "between"},
		"no length of time":  {begin + "lifetimes: {workload: a week}\n", Lifetimes{}, "such as 90d"},
		"longer than counts": {begin + "lifetimes: {authority: 99999999999d}\n", Lifetimes{}, "such as 90d"},
		"another name":       {"kind: Settings\nname: mine\n", Lifetimes{}, "named site"},
		"a field too much":   {begin + "lifetime: {}\n", Lifetimes{}, "lifetime"},
	} {
		t.Run(name, func(t *testing.T) {
			resources, err := Parse("settings.yaml", []byte(c.text))
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("it gave %v, want %q", err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, LifetimesOf(resources[0].GetSettings())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(whole, LifetimesOf(&skerryv1.Settings{Lifetimes: &skerryv1.Lifetimes{Node: "1ns", Operator: "?"}})); diff != "" {
		t.Errorf("what is out of bounds (-want +got):\n%s", diff)
	}
}
