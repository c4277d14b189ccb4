package retiring_test

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"testing"

	"skerry.dev/agent/identity/retiring"
	"skerry.dev/shared/problem"
)

func TestNothingIsTakenFromACAThatRetires(t *testing.T) {
	old, fresh := &x509.Certificate{Raw: []byte("old")}, &x509.Certificate{Raw: []byte("fresh")}
	sum := sha256.Sum256(old.Raw)
	gate := &retiring.Gate{Orders: func() [][]byte { return [][]byte{sum[:]} }}
	taken := 0
	take := func() error { taken++; return nil }
	var refused *problem.Error
	if err := gate.Take(old, take); !errors.As(err, &refused) || taken != 0 {
		t.Errorf("taken %d times: %v", taken, err)
	}
	if err := gate.Take(fresh, take); err != nil || taken != 1 {
		t.Errorf("taken %d times: %v", taken, err)
	}
}

func TestACAIsForswornOnlyWhileNothingIsBeingStored(t *testing.T) {
	ca := &x509.Certificate{Raw: []byte("old")}
	sum := sha256.Sum256(ca.Raw)
	var orders [][]byte
	gate := &retiring.Gate{Orders: func() [][]byte { return orders }}
	looked := 0
	look := func() { looked++ }
	err := gate.Take(ca, func() error {
		orders = [][]byte{sum[:]} // they come while it is being written
		if got := gate.Refused(look); len(got) != 0 {
			t.Errorf("it says that it takes nothing of %x while it does", got)
		}
		return nil
	})
	if got := gate.Refused(look); err != nil || len(got) != 1 || looked != 2 {
		t.Errorf("%v; refused %x, looked %d times", err, got, looked)
	}
}
