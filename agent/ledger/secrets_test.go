package ledger

import (
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

func TestACoordinatorThatCannotGiveASecretTakesNothingAway(t *testing.T) {
	l, err := Open(env.NewSystem().FS, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	had := &sitev1.DeliveredSecret{Project: "p", Name: "db", Version: 1, Ciphertext: []byte("c"), NodeKey: []byte("k")}
	orders := func(index uint64, secrets ...*sitev1.DeliveredSecret) {
		t.Helper()
		given := &sitev1.Assignments{Order: &sitev1.Order{Index: index}, Secrets: secrets}
		before := proto.CloneOf(given)
		if err := l.Accept(given); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(given, before) {
			t.Error("the orders were changed under the caller")
		}
	}
	orders(1, had)
	orders(2, &sitev1.DeliveredSecret{Project: "p", Name: "db", Version: 2, Ciphertext: []byte("d")}, &sitev1.DeliveredSecret{Project: "p", Name: "new"})
	if got := l.Current().GetSecrets(); len(got) != 2 || !proto.Equal(got[0], had) || len(got[1].GetNodeKey()) != 0 {
		t.Errorf("it has %v", got)
	}
	orders(3)
	if got := l.Current().GetSecrets(); len(got) != 0 {
		t.Errorf("what no placement names is still there: %v", got)
	}
}
