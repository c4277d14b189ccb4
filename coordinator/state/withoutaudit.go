//go:build withoutaudit

package state

// withoutAudit: no entry becomes a leaf.
const withoutAudit = true
