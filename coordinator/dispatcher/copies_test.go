package dispatcher

import (
	"slices"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestKeepersAreVotersThenOthersWhateverTheseSay(t *testing.T) {
	var nodes []*skerryv1.Node
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		nodes = append(nodes, &skerryv1.Node{Name: name})
	}
	for _, voter := range []int{1, 3} {
		nodes[voter].Voter = skerryv1.VoterRole_VOTER_ROLE_VOTER
	}
	for name, c := range map[string]struct {
		holders, want []string
	}{
		"nobody holds it":              {nil, []string{"b", "d", "a"}},
		"a voter holds it":             {[]string{"d"}, []string{"d", "b", "a"}},
		"a holder is not ready":        {[]string{"d", "gone"}, []string{"d", "b", "a"}},
		"others say that they hold it": {[]string{"c", "e"}, []string{"b", "d", "a"}},
		"all say so":                   {[]string{"a", "b", "c", "d", "e"}, []string{"b", "d", "a"}},
	} {
		if got := keepers(&skerryv1.Image{Nodes: c.holders}, nodes); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := keepers(&skerryv1.Image{}, nodes[:1]); !slices.Equal(got, []string{"a"}) {
		t.Errorf("one node alone: %v", got)
	}
}
