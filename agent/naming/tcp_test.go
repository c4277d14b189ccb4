package naming

import (
	"net/netip"
	"testing"
)

func TestOneContainerDoesNotTakeThePlacesOfOthers(t *testing.T) {
	p := &places{of: map[netip.Addr]int{}}
	greedy, other := netip.MustParseAddr("10.88.0.2"), netip.MustParseAddr("10.88.0.3")
	got := 0
	for range maxConns {
		if p.take(greedy) {
			got++
		}
	}
	if got != maxConnsOfOne || !p.take(other) {
		t.Errorf("one has %d places, and another one finds none", got)
	}
	p.leave(greedy)
	if !p.take(greedy) || p.take(greedy) {
		t.Error("a place that was left is not free, or two are")
	}
	for i := range 255 {
		for range maxConnsOfOne {
			p.take(netip.AddrFrom4([4]byte{10, 88, 1, byte(i)}))
		}
	}
	if p.all != maxConns {
		t.Errorf("%d are open, %d are allowed", p.all, maxConns)
	}
}
