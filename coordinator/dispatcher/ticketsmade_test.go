package dispatcher

import (
	"bytes"
	"fmt"
	"testing"

	"skerry.dev/shared/ticket"
)

func TestTicketsThatAreRememberedAreThoseThatWouldBeMade(t *testing.T) {
	made := &tickets{}
	for range 2 {
		for _, key := range []string{"key", "another"} {
			for _, node := range []string{"node", "other"} {
				for _, image := range []string{"sha256:1", "sha256:2"} {
					want := ticket.For([]byte(key), []byte(node), image)
					if got := made.of([]byte(key), []byte(node), image); !bytes.Equal(got, want) {
						t.Errorf("%s of %s for %s: %x, not %x", image, key, node, got, want)
					}
				}
			}
		}
	}
}

func TestTicketsThatAreRememberedAreBounded(t *testing.T) {
	made := &tickets{}
	for i := range mostTickets + 3 {
		made.of([]byte("key"), []byte("node"), fmt.Sprint(i))
	}
	if n := len(made.made); n != 3 {
		t.Errorf("%d are remembered, not the 3 since there were too many", n)
	}
}
