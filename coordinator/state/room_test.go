package state

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestARoomIsBoundedAndKnowsWhatWentBefore(t *testing.T) {
	old := &skerryv1.DiskRoom{Removed: &skerryv1.ImagesRemoved{Images: []string{"web:1"}}}
	if got := boundedRoom(&skerryv1.DiskRoom{FreeBytes: 1}, old); got.GetFreeBytes() != 1 || len(got.GetRemoved().GetImages()) != 1 {
		t.Errorf("a new agent makes it %v", got)
	}
	if boundedRoom(nil, old) != old {
		t.Error("what tells nothing changes it")
	}
	many := &skerryv1.ImagesRemoved{At: timestamppb.Now(), Reason: strings.Repeat("a", maxMessage+1)}
	for range maxRemoved + 1 {
		many.Images = append(many.Images, strings.Repeat("n", maxImageName+1))
	}
	got := boundedRoom(&skerryv1.DiskRoom{Removed: many}, nil).GetRemoved()
	if len(got.GetImages()) != maxRemoved || len(got.GetImages()[0]) > maxImageName || len(got.GetReason()) > maxMessage {
		t.Errorf("%d images of %d bytes, a reason of %d", len(got.GetImages()), len(got.GetImages()[0]), len(got.GetReason()))
	}
}

func TestDigestsThatANodeTellsAreBounded(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	given := []string{"../../etc", digest}
	for range maxSurplus {
		given = append(given, digest)
	}
	if got := boundedDigests(given); len(got) != maxSurplus-1 {
		t.Errorf("%d are taken", len(got))
	}
}
