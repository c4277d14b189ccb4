package dispatcher

import (
	"slices"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestKeepersAreHoldersThenVotersThenOthers(t *testing.T) {
	var nodes []*skerryv1.Node
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		nodes = append(nodes, &skerryv1.Node{Name: name})
	}
	nodes[3].Voter = skerryv1.VoterRole_VOTER_ROLE_VOTER
	for name, c := range map[string]struct {
		holders, want []string
	}{
		"nobody holds it":           {nil, []string{"d", "a", "b"}},
		"one holds it":              {[]string{"e"}, []string{"e", "d", "a"}},
		"a holder is not ready":     {[]string{"e", "gone"}, []string{"e", "d", "a"}},
		"more hold it than need to": {[]string{"a", "b", "c", "e"}, []string{"a", "b", "c"}},
	} {
		if got := keepers(&skerryv1.Image{Nodes: c.holders}, nodes); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := keepers(&skerryv1.Image{}, nodes[:1]); !slices.Equal(got, []string{"a"}) {
		t.Errorf("one node alone: %v", got)
	}
}
