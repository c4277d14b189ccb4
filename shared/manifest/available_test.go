package manifest

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestHowManyMustStayAvailable(t *testing.T) {
	for _, test := range []struct {
		text string
		of   int
		want int
		bad  bool
	}{
		{text: "", of: 3}, {text: "0", of: 3}, {text: "2", of: 3, want: 2}, {text: "10000", of: 3, want: 10000},
		{text: "50%", of: 4, want: 2}, {text: "50%", of: 3, want: 2}, {text: "1%", of: 3, want: 1},
		{text: "100%", of: 3, want: 3}, {text: "0%", of: 3}, {text: "34%", of: 0},
		{text: "101%", bad: true}, {text: "10001", bad: true}, {text: "-1", bad: true}, {text: "%", bad: true},
		{text: "1.5", bad: true}, {text: "two", bad: true}, {text: "+1", bad: true}, {text: "50 %", bad: true},
	} {
		got, err := Available(test.text, test.of)
		if got != test.want || (err != nil) != test.bad {
			t.Errorf("%q of %d: got %d, %v", test.text, test.of, got, err)
		}
	}
}

func TestWhatCanNeverBeAvailableIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"2": "", "3": "", "100%": "", "4": "4 must stay healthy of 3 replicas: it can never be met", "many": `"many" is neither`,
	} {
		w := fullWorkload()
		w.Replicas, w.MinAvailable = proto.Uint32(3), text
		err := Validate(&skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: w}})
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
