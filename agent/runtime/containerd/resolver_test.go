package containerd

import (
	"net/netip"
	"testing"
)

func TestContainersAskTheirOwnNode(t *testing.T) {
	const rest = "\nsearch shop.harbour.skerry\noptions timeout:1 attempts:5\n"
	for _, test := range []struct {
		name, network string
		told, machine bool
		want          string
	}{
		{"before the node answers", networkBridge, false, false, ""},
		{"on the bridge", networkBridge, true, false, "nameserver 10.88.0.1" + rest},
		{"on the machine's network, which is not answered", networkHost, true, false, ""},
		{"on the machine's network", networkHost, true, true, "nameserver 127.0.0.1" + rest},
		{"on none", "none", true, true, ""},
	} {
		d := &Driver{network: &network{subnet: netip.MustParsePrefix("10.88.0.0/16")}}
		if test.told {
			d.Resolve("harbour.skerry", test.machine)
		}
		if got := string(d.ownResolver("shop", test.network)); got != test.want {
			t.Errorf("%s: resolv.conf is %q, want %q", test.name, got, test.want)
		}
	}
}
