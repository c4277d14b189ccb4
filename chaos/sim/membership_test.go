package sim

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// pool is a set of running memberships that tick.
func pool(hosts int) (*kernel, *network, []*membership) {
	k := &kernel{}
	n := newNetwork(k, newTrace(k), rand.New(rand.NewPCG(1, 1)), hosts)
	up := func(int) bool { return true }
	n.hostUp, n.processUp = up, up
	all := make([]*membership, hosts)
	for h := range all {
		all[h] = newMembership(n, rand.New(rand.NewPCG(2, uint64(h))), h, hosts)
		all[h].others = func(host int) *membership { return all[host] }
		all[h].changed = func(int, bool) {}
		all[h].ring = [][]byte{{1}}
		var tick func()
		tick = func() { all[h].tick(); k.after(probeEvery, tick) }
		k.after(0, tick)
	}
	return k, n, all
}

func whole(all []*membership) bool {
	return !slices.ContainsFunc(all, func(m *membership) bool { return len(m.members()) != len(all)-1 })
}

func split(n *network, by int) {
	for a := range n.cuts {
		for b := range n.cuts {
			if (a == 0) != (b == 0) {
				n.cuts[a][b] += by
			}
		}
	}
}

func TestMembershipFormsFromOneContactAndHealsAShortCutByItself(t *testing.T) {
	k, n, all := pool(4)
	for h := 1; h < 4; h++ {
		all[h].join(0)
	}
	k.runUntil(5*time.Second, never)
	if !whole(all) {
		t.Fatal("joining one node did not make the pool whole")
	}
	split(n, 1)
	k.runUntil(15*time.Second, never)
	if len(all[0].members()) != 0 || len(all[1].members()) != 2 {
		t.Errorf("10 s into the cut n1 counts %v, n2 counts %v", all[0].members(), all[1].members())
	}
	split(n, -1)
	k.runUntil(25*time.Second, never)
	if !whole(all) {
		t.Error("a cut of 10 s did not heal")
	}
}

func TestMembershipNeverHealsALongCutByItself(t *testing.T) {
	k, n, all := pool(4)
	for h := 1; h < 4; h++ {
		all[h].join(0)
	}
	k.runUntil(5*time.Second, never)
	split(n, 1)
	k.runUntil(time.Minute, never)
	split(n, -1)
	k.runUntil(30*time.Minute, never)
	if len(all[0].members()) != 0 {
		t.Errorf("n1 counts %v without anybody joining", all[0].members())
	}
	all[0].join(2)
	k.runUntil(31*time.Minute, never)
	if !whole(all) {
		t.Error("one contact did not make the pool whole again")
	}
}
