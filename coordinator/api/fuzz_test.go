package api

import (
	"testing"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Whatever is posted to Apply as JSON: it is refused, or it is admitted as
// something that would be admitted again.
func FuzzApplyJSON(f *testing.F) {
	f.Add([]byte(`{"resources":[{"workload":{"kind":"Workload","name":"web","container":{"image":"x"}}}]}`))
	f.Add([]byte(`{"resources":[{}]}`))
	codec := strictJSON{name: "json"}
	f.Fuzz(func(t *testing.T, body []byte) {
		request := &skerryv1.ApplyRequest{}
		if codec.Unmarshal(body, request) != nil {
			return
		}
		admitted, err := resources{}.admit(request.GetResources())
		if err != nil {
			return
		}
		again, err := resources{}.admit([]*skerryv1.Resource{proto.CloneOf(admitted[0])})
		if err != nil || !proto.Equal(admitted[0], again[0]) {
			t.Errorf("admitted twice it differs: %v", err)
		}
	})
}
