package containerd

import (
	"net/netip"
	"testing"
)

func TestContainersAskTheirOwnNode(t *testing.T) {
	d := &Driver{network: &network{subnet: netip.MustParsePrefix("10.88.0.0/16")}}
	if got := d.ownResolver("shop"); got != nil {
		t.Errorf("before the node answers: %q", got)
	}
	d.Resolve("harbour.skerry")
	want := "nameserver 10.88.0.1\nsearch shop.harbour.skerry\noptions timeout:1 attempts:5\n"
	if got := string(d.ownResolver("shop")); got != want {
		t.Errorf("resolv.conf is %q, want %q", got, want)
	}
}
