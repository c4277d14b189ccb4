package check

import (
	"testing"
	"time"
)

func TestRegistersAreLinearizableOrNot(t *testing.T) {
	write := func(client int, value string, from, to int) Operation {
		return Operation{Client: client, Key: "r", Write: true, Value: value, Call: time.Duration(from), Return: time.Duration(to)}
	}
	read := func(client int, value string, from, to int) Operation {
		return Operation{Client: client, Key: "r", Value: value, Call: time.Duration(from), Return: time.Duration(to)}
	}
	lost := func(o Operation) Operation {
		o.Unknown = true
		return o
	}
	for _, test := range []struct {
		name string
		all  []Operation
		want bool
	}{
		{"nothing happened", nil, true},
		{"one after the other", []Operation{read(1, "", 0, 1), write(1, "a", 2, 3), read(1, "a", 4, 5)}, true},
		{"a read during a write may see it or not", []Operation{write(1, "a", 0, 9), read(2, "", 1, 2), read(2, "a", 3, 4)}, true},
		{"a read during a write, and an older one after it", []Operation{write(1, "a", 0, 9), read(2, "a", 1, 2), read(3, "", 3, 4)}, false},
		{"an acknowledged write is gone", []Operation{write(1, "a", 0, 1), read(2, "", 2, 3)}, false},
		{"a value comes back", []Operation{write(1, "a", 0, 1), write(1, "b", 2, 3), read(2, "a", 4, 5)}, false},
		{"a write without an answer did not happen", []Operation{lost(write(1, "a", 0, 3)), read(2, "", 4, 5)}, true},
		{"a write without an answer happens late", []Operation{lost(write(1, "a", 0, 3)), read(2, "", 4, 5), read(2, "a", 6, 7)}, true},
		{"and not twice", []Operation{lost(write(1, "a", 0, 3)), read(2, "a", 4, 5), write(2, "b", 6, 7), read(2, "a", 8, 9)}, false},
		{"a value that nobody has written yet", []Operation{read(2, "a", 0, 1), lost(write(1, "a", 2, 3))}, false},
		{"a read without an answer says nothing", []Operation{write(1, "a", 0, 1), lost(read(2, "", 2, 3))}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := NewHistory()
			for _, o := range test.all {
				h.Add(o)
			}
			if v := h.Linearizable(); (v == nil) != test.want {
				t.Errorf("linearizable is %v (%v), want %v", v == nil, v, test.want)
			}
		})
	}
}

func TestAWriteUnderWayAtTheEndExplainsARead(t *testing.T) {
	write := Operation{Client: 1, Key: "r", Write: true, Value: "b", Call: 4}
	for _, test := range []struct {
		name  string
		after func(*History)
		want  bool
	}{
		{"while it is under way", func(*History) {}, true},
		{"when it never began", func(h *History) { h.open = nil }, false},
		{"when it was refused", func(h *History) { h.Refused(write.Client) }, false},
		{"when its client goes on", func(h *History) { h.Begin(Operation{Client: write.Client, Key: "r", Call: 8}) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := NewHistory()
			h.Add(Operation{Client: 1, Key: "r", Write: true, Value: "a", Call: 1, Return: 2})
			h.Begin(write)
			h.Add(Operation{Client: 2, Key: "r", Value: "b", Call: 5, Return: 6})
			test.after(h)
			if v := h.Linearizable(); (v == nil) != test.want {
				t.Errorf("linearizable is %v (%v), want %v", v == nil, v, test.want)
			}
		})
	}
}
