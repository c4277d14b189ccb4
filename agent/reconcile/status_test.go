package reconcile

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestACopyOfAStatusIsWhole: it leaves no field out, and is one of its own.
func TestACopyOfAStatusIsWhole(t *testing.T) {
	status := &skerryv1.PlacementStatus{
		Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: skerryv1.Readiness_READINESS_HEALTHY, Message: "m", Address: "a",
		Restarts: 1, LastExit: &skerryv1.Exit{Code: 1}, Started: timestamppb.Now(), Revision: 2, Identity: "i",
		IdentityUntil: timestamppb.Now(), Accel: "kvm", Snapshots: []*skerryv1.Snapshot{{Name: "s"}},
	}
	fields := status.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); !status.ProtoReflect().Has(field) {
			t.Errorf("%s is new: copyOf and this test are to know it", field.FullName())
		}
	}
	got := copyOf(status)
	if !proto.Equal(got, status) {
		t.Errorf("the copy is %v, want %v", got, status)
	}
	got.Message, got.IdentityUntil = "other", nil
	if status.GetMessage() != "m" || status.GetIdentityUntil() == nil {
		t.Error("a change of the copy changes the status")
	}
}
