package mtls

import "testing"

func TestOneHostDoesNotTakeAllTheRoomOfStrangers(t *testing.T) {
	g := newGate(3, 2)
	first, ok := g.tryEnter("a")
	if !ok {
		t.Fatal("an empty gate is full")
	}
	if _, ok := g.tryEnter("a"); !ok {
		t.Error("a host does not get its share")
	}
	if _, ok := g.tryEnter("a"); ok {
		t.Error("a host gets more than its share")
	}
	if _, ok := g.tryEnter("b"); !ok {
		t.Error("another host finds no room")
	}
	if _, ok := g.tryEnter("c"); ok {
		t.Error("there is more room than there is")
	}
	first()
	if _, ok := g.tryEnter("c"); !ok || len(g.hosts) != 3 {
		t.Errorf("room that was left is not free: %v", g.hosts)
	}
}
