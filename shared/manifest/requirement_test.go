package manifest

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestRequirements(t *testing.T) {
	node := &skerryv1.Node{Name: "n1", Zone: "b", Version: "v0.10.1-rc2", Labels: map[string]string{"disk": "ssd", "cores": "8", "empty": ""}}
	for _, test := range []struct {
		name string
		r    *skerryv1.Requirement
		met  bool
	}{
		{"one of the values", &skerryv1.Requirement{Label: "disk", In: []string{"nvme", "ssd"}}, true},
		{"none of the values", &skerryv1.Requirement{Label: "disk", In: []string{"nvme"}}, false},
		{"no such label", &skerryv1.Requirement{Label: "gpu", In: []string{""}}, false},
		{"an empty value is a value", &skerryv1.Requirement{Label: "empty", In: []string{""}}, true},
		{"not one of the values", &skerryv1.Requirement{Label: "zone", NotIn: []string{"a"}}, true},
		{"not, but is", &skerryv1.Requirement{Label: "zone", NotIn: []string{"a", "b"}}, false},
		{"not, without the label", &skerryv1.Requirement{Label: "gpu", NotIn: []string{"a"}}, true},
		{"it is there", &skerryv1.Requirement{Label: "empty", Exists: proto.Bool(true)}, true},
		{"it is there and must not be", &skerryv1.Requirement{Label: "empty", Exists: proto.Bool(false)}, false},
		{"it is not there, as it should be", &skerryv1.Requirement{Label: "gpu", Exists: proto.Bool(false)}, true},
		{"a number is enough", &skerryv1.Requirement{Label: "cores", AtLeast: "8"}, true},
		{"a number is not enough", &skerryv1.Requirement{Label: "cores", AtLeast: "10"}, false},
		{"a version is enough", &skerryv1.Requirement{Label: "version", AtLeast: "0.9"}, true},
		{"the same version", &skerryv1.Requirement{Label: "version", AtLeast: "0.10.1"}, true},
		{"a version is too old", &skerryv1.Requirement{Label: "version", AtLeast: "v0.10.2"}, false},
		{"what is no number is never enough", &skerryv1.Requirement{Label: "disk", AtLeast: "0"}, false},
		{"nothing is asked for", &skerryv1.Requirement{Label: "disk"}, false},
	} {
		value, has := Label(node, test.r.GetLabel())
		if got := Accepts(test.r, value, has); got != test.met {
			t.Errorf("%s: met is %t", test.name, got)
		}
	}
}

// TestContradictionsHaveNoValue: no value that any of the two names, nor its
// absence, meets both.
func TestContradictionsHaveNoValue(t *testing.T) {
	values := []string{"1", "2", "x", ""}
	draw := rapid.Custom(func(t *rapid.T) *skerryv1.Requirement {
		list := func(what string) []string { return rapid.SliceOfN(rapid.SampledFrom(values), 1, 3).Draw(t, what) }
		switch rapid.IntRange(0, 3).Draw(t, "operator") {
		case 0:
			return &skerryv1.Requirement{Label: "l", In: list("in")}
		case 1:
			return &skerryv1.Requirement{Label: "l", NotIn: list("notIn")}
		case 2:
			return &skerryv1.Requirement{Label: "l", Exists: proto.Bool(rapid.Bool().Draw(t, "exists"))}
		default:
			return &skerryv1.Requirement{Label: "l", AtLeast: rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "least")}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		possible := Accepts(a, "", false) && Accepts(b, "", false)
		for _, value := range append(values, "9") {
			possible = possible || (Accepts(a, value, true) && Accepts(b, value, true))
		}
		if contradict(a, b) == possible {
			t.Fatalf("%v and %v: contradict says %t", a, b, !possible)
		}
	})
}
