package check

import "testing"

func TestMovesOfARebalance(t *testing.T) {
	for _, test := range []struct {
		name string
		got  *Violation
		want Rule
	}{
		{"what was asked for begins", Moved(Move{Placement: "web-1", Asked: true, Base: 5}), ""},
		{"what nobody asked for begins", Moved(Move{Placement: "web-1", Base: 5}), Moves},
		{"it ends when its successor is healthy", Moved(Move{Placement: "web-1", Asked: true, Ends: true, Proven: 6, Base: 5}), ""},
		{"it ends before its successor is healthy", Moved(Move{Placement: "web-1", Asked: true, Ends: true, Proven: 4, Base: 5}), Moves},
		{"it ends first because two must not run", Moved(Move{Placement: "web-1", Asked: true, Ends: true, ByItself: true, Base: 5}), ""},
		{"one that ends first is alone", UnderWay([]string{"a-1"}, []string{"a-1"}), ""},
		{"many that run beside each other", UnderWay([]string{"a-1", "b-1"}, nil), ""},
		{"one that ends first is not alone", UnderWay([]string{"a-1", "b-1"}, []string{"a-1"}), Moves},
		{"nothing of another template", Beside("a-2", nil), ""},
		{"something of another template", Beside("a-2", []string{"a-1"}), OneTemplate},
		{"what is wrong is refused", TakenIn("a", "a negative quantity", false, false), ""},
		{"what is wrong is taken in", TakenIn("a", "a negative quantity", true, true), WrongRefused},
		{"what is refused changes something", TakenIn("a", "a negative quantity", false, true), WrongRefused},
	} {
		var rule Rule
		if test.got != nil {
			rule = test.got.Rule
		}
		if rule != test.want {
			t.Errorf("%s: broken rule %q, want %q", test.name, rule, test.want)
		}
	}
}
