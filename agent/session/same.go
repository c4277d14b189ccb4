package session

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// A node looks at all that it has whenever one thing may have changed, and
// proto.Equal goes through each message by reflection. What follows compares the
// fields themselves; a test holds that none is left out.

func sameReport(a, b *sitev1.PlacementReport) bool {
	return a != nil && b != nil &&
		a.GetProject() == b.GetProject() && a.GetPlacement() == b.GetPlacement() &&
		a.GetGone() == b.GetGone() && a.GetLapsed() == b.GetLapsed() &&
		sameStatus(a.GetStatus(), b.GetStatus()) && same(a.GetMigration(), b.GetMigration())
}

func sameStatus(a, b *skerryv1.PlacementStatus) bool {
	return (a == nil) == (b == nil) &&
		a.GetPhase() == b.GetPhase() && a.GetReadiness() == b.GetReadiness() && a.GetMessage() == b.GetMessage() &&
		a.GetAddress() == b.GetAddress() && a.GetRestarts() == b.GetRestarts() && a.GetRevision() == b.GetRevision() &&
		a.GetIdentity() == b.GetIdentity() && a.GetAccel() == b.GetAccel() &&
		same(a.GetLastExit(), b.GetLastExit()) && same(a.GetStarted(), b.GetStarted()) &&
		same(a.GetIdentityUntil(), b.GetIdentityUntil()) && slices.EqualFunc(a.GetSnapshots(), b.GetSnapshots(), same)
}

func sameFacts(a, b *sitev1.NodeFacts) bool {
	return (a == nil) == (b == nil) &&
		a.GetAddress() == b.GetAddress() && a.GetGossipAddress() == b.GetGossipAddress() && a.GetVersion() == b.GetVersion() &&
		a.GetGossipVersion() == b.GetGossipVersion() && a.GetAuthorityGeneration() == b.GetAuthorityGeneration() && a.GetRun() == b.GetRun() &&
		bytes.Equal(a.GetAuthority(), b.GetAuthority()) && bytes.Equal(a.GetSealingKey(), b.GetSealingKey()) &&
		bytes.Equal(a.GetAuditKey(), b.GetAuditKey()) && bytes.Equal(a.GetJwtKey(), b.GetJwtKey()) &&
		bytes.Equal(a.GetSvidIssuer(), b.GetSvidIssuer()) && slices.Equal(a.GetImages(), b.GetImages()) &&
		slices.EqualFunc(a.GetWorkloadIssuers(), b.GetWorkloadIssuers(), bytes.Equal) &&
		slices.EqualFunc(a.GetRefusedIssuers(), b.GetRefusedIssuers(), bytes.Equal) &&
		slices.Equal(a.GetSurplusImages(), b.GetSurplusImages()) && same(a.GetRoom(), b.GetRoom()) &&
		same(a.GetCapacity(), b.GetCapacity()) && same(a.GetSvidExpires(), b.GetSvidExpires()) && same(a.GetVms(), b.GetVms()) &&
		slices.EqualFunc(a.GetConditions(), b.GetConditions(), same) && slices.EqualFunc(a.GetVolumes(), b.GetVolumes(), same)
}

// same is proto.Equal, at once where both are nothing.
func same[T interface {
	proto.Message
	comparable
}](a, b T) bool {
	return a == b || proto.Equal(a, b)
}
