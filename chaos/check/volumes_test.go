package check

import "testing"

func TestAVolumeHasOneWriter(t *testing.T) {
	if v := WritesAlone("data", []string{"vm-1 on n1"}); v != nil {
		t.Error(v)
	}
	if got := first(WritesAlone("data", []string{"vm-1 on n1", "vm-1 on n2"})); got != OneWriter {
		t.Errorf("two at once break %q", got)
	}
}

func TestWhatWasWrittenLastIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		volume Volume
		want   Rule
	}{
		"nothing was written":               {Volume{Node: "n1"}, ""},
		"it is where the site says":         {Volume{Newest: 7, Node: "n1", Copies: map[string]Copy{"n1": {Written: 7}}}, ""},
		"it has come, and nobody has heard": {Volume{Newest: 8, Node: "n1", ComingTo: "n2", Copies: map[string]Copy{"n1": {Written: 7}, "n2": {Written: 8}}}, ""},
		"what came is not the newest":       {Volume{Newest: 8, Node: "n1", ComingTo: "n2", Copies: map[string]Copy{"n1": {Written: 7}, "n2": {Written: 0}}}, NewestKept},
		"it is on a node that nobody asks":  {Volume{Newest: 8, Node: "n1", Copies: map[string]Copy{"n1": {Written: 7}, "n2": {Written: 8}}}, NewestKept},
		"it is gone":                        {Volume{Newest: 8, Node: "n1", Copies: map[string]Copy{}}, NewestKept},
	} {
		if got := first(test.volume.Kept()); got != test.want {
			t.Errorf("%s: it breaks %q, want %q", name, got, test.want)
		}
	}
}

func TestTheNewestCopyIsNotDeleted(t *testing.T) {
	for name, test := range map[string]struct {
		copies map[string]Copy
		want   Rule
	}{
		"another one has it":          {map[string]Copy{"n1": {Written: 7}, "n2": {Written: 7}}, ""},
		"it is older":                 {map[string]Copy{"n1": {Written: 6}, "n2": {Written: 7}}, ""},
		"the other one has not come":  {map[string]Copy{"n1": {Written: 7}, "n2": {Written: 7, Coming: true}}, CopyStays},
		"the other one is older":      {map[string]Copy{"n1": {Written: 7}, "n2": {Written: 6}}, CopyStays},
		"there is no other":           {map[string]Copy{"n1": {Written: 7}}, CopyStays},
		"there is nothing to delete ": {map[string]Copy{"n2": {Written: 7}}, ""},
	} {
		if got := first(Volume{Name: "data", Newest: 7, Copies: test.copies}.Deletes("n1")); got != test.want {
			t.Errorf("%s: it breaks %q, want %q", name, got, test.want)
		}
	}
}

func TestAVolumeIsInOnePlaceInTheEnd(t *testing.T) {
	for name, test := range map[string]struct {
		volume Volume
		want   int
	}{
		"it was never used":       {Volume{}, 0},
		"all is well":             {Volume{Newest: 7, Node: "n1", Copies: map[string]Copy{"n1": {Written: 7}}}, 0},
		"it moves":                {Volume{Newest: 7, Node: "n1", ComingTo: "n2", Copies: map[string]Copy{"n1": {Written: 7}}}, 1},
		"its old copy is there":   {Volume{Newest: 7, Node: "n1", LeftOn: "n2", Copies: map[string]Copy{"n1": {Written: 7}, "n2": {}}}, 2},
		"a copy is forgotten":     {Volume{Newest: 7, Node: "n1", Copies: map[string]Copy{"n1": {Written: 7}, "n2": {}}}, 1},
		"it is on none of them":   {Volume{Newest: 7, Node: "n1", Copies: map[string]Copy{}}, 1},
		"it is on the wrong node": {Volume{Newest: 7, Node: "n1", Copies: map[string]Copy{"n2": {Written: 7}}}, 1},
	} {
		if got := test.volume.Unsettled(); len(got) != test.want {
			t.Errorf("%s: it lists %q, want %d", name, got, test.want)
		}
	}
}
