package counts

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Reads are counts as reads: they have no reason.
func Reads(counted *sitev1.RecordRefusals) *sitev1.RecordReads {
	reads := &sitev1.RecordReads{Principal: counted.GetPrincipal(), Node: counted.GetNode(), More: counted.GetMore(), Happened: counted.GetHappened()}
	for _, one := range counted.GetRefusals() {
		reads.Reads = append(reads.Reads, &skerryv1.AuditRead{Resource: one.GetResource(), Count: one.GetCount(), From: one.GetFrom()})
	}
	return reads
}

// OfReads is the way back.
func OfReads(reads *sitev1.RecordReads) *sitev1.RecordRefusals {
	counted := &sitev1.RecordRefusals{Principal: reads.GetPrincipal(), Node: reads.GetNode(), More: reads.GetMore(), Happened: reads.GetHappened()}
	for _, one := range reads.GetReads() {
		counted.Refusals = append(counted.Refusals, &skerryv1.AuditRefusal{Resource: one.GetResource(), Count: one.GetCount(), From: one.GetFrom()})
	}
	return counted
}
