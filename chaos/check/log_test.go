package check

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// first is the rule that the first violation broke.
func first(violations ...*Violation) Rule {
	for _, v := range violations {
		if v != nil {
			return v.Rule
		}
	}
	return ""
}

func TestLog(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(l *Log) *Violation
		want Rule
	}{
		{"replicas that agree are fine", func(l *Log) *Violation { return l.Applied("b", 1, 10, 100, "r1") }, ""},
		{"another entry at an index nobody was told of", func(l *Log) *Violation { return l.Applied("b", 2, 99, 200, "x") }, SameLog},
		{"another entry at an acknowledged index", func(l *Log) *Violation { return l.Applied("b", 1, 99, 100, "x") }, NothingLost},
		{"another state after the same entry", func(l *Log) *Violation { return l.Applied("b", 2, 20, 201, "r2") }, SameState},
		{"an acknowledgement of what nobody applied", func(l *Log) *Violation { return l.Acknowledged("r9", 9) }, NothingLost},
		{"an acknowledgement at the index of another request", func(l *Log) *Violation { return l.Acknowledged("r9", 2) }, NothingLost},
		{"a request that is repeated and gets its outcome again", func(l *Log) *Violation { return l.Decided("r1", 1) }, ""},
		{"a request that is repeated and happens again", func(l *Log) *Violation { return l.Decided("r1", 2) }, Once},
		{"a snapshot of another state", func(l *Log) *Violation { return l.Restored("b", 2, 7) }, SameState},
		{"a snapshot of the same state", func(l *Log) *Violation { return l.Restored("b", 2, 200) }, ""},
		{"another snapshot of the same state", func(*Log) *Violation { return SameSnapshot("b", 2, []byte("x"), []byte("y")) }, SameState},
		{"the same snapshot of the same state", func(*Log) *Violation { return SameSnapshot("b", 2, []byte("x"), []byte("x")) }, ""},
		{"a read of old state", func(l *Log) *Violation { return l.Read("b", 2, 1) }, FreshReads},
		{"a read of newest state", func(l *Log) *Violation { return l.Read("b", 2, 2) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := NewLog()
			setup := first(l.Applied("a", 1, 10, 100, "r1"), l.Applied("a", 2, 20, 200, "r2"), l.Decided("r1", 1), l.Acknowledged("r1", 1))
			if setup != "" {
				t.Fatalf("the setup broke %q", setup)
			}
			if got := first(test.run(l)); got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}

func TestLeaders(t *testing.T) {
	l := NewLeaders()
	if got := first(l.Leads("a", 1), l.Leads("a", 1), l.Leads("b", 2)); got != "" {
		t.Errorf("one leader a term broke %q", got)
	}
	if got := first(l.Leads("b", 1)); got != OneLeader {
		t.Errorf("two leaders of a term broke %q", got)
	}
}

func TestOrders(t *testing.T) {
	order := func(epoch, term, index uint64) *sitev1.Order {
		return &sitev1.Order{SiteEpoch: epoch, Term: term, Index: index}
	}
	o := NewOrders()
	if got := first(o.Acts("a", order(1, 2, 9)), o.Acts("a", order(1, 3, 5)), o.Acts("a", order(1, 3, 5)), o.Acts("b", order(1, 1, 1))); got != "" {
		t.Errorf("rising orders broke %q", got)
	}
	if got := first(o.Acts("a", order(1, 2, 10))); got != OrdersRise {
		t.Errorf("an older term broke %q", got)
	}
}
