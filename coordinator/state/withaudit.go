//go:build !withoutaudit

package state

// withoutAudit is set in a binary that measures what the audit log costs, and in
// no other: see "make bench BENCH=audit".
const withoutAudit = false
