package localapi

import (
	"bytes"
	"testing"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func TestWhoIsTheNodeOfAnEntry(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	known := &sitev1.Peer{Name: "n1", KeyFingerprint: key}
	for _, test := range []struct {
		name  string
		known *sitev1.Peer
		peer  certs.Peer
		want  bool
	}{
		{"the node", known, certs.Peer{Role: certs.RoleNode, Name: "n1", KeyFingerprint: key}, true},
		{"one that had its name before", known, certs.Peer{Role: certs.RoleNode, Name: "n1", KeyFingerprint: other}, false},
		{"another node", known, certs.Peer{Role: certs.RoleNode, Name: "n2", KeyFingerprint: key}, false},
		{"an operator of its name", known, certs.Peer{Role: certs.RoleOperator, Name: "n1", KeyFingerprint: key}, false},
		{"a node whose key the ledger does not have", &sitev1.Peer{Name: "n1"}, certs.Peer{Role: certs.RoleNode, Name: "n1", KeyFingerprint: other}, true},
	} {
		if got := isPeer(test.known, test.peer); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
