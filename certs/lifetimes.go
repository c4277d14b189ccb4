package certs

import "time"

// WorkloadLifetime of an SVID of a workload: so long at most, and half of it at
// least, its node can give it an identity with no coordinator in reach (SAFETY,
// rule 20).
const WorkloadLifetime = 14 * 24 * time.Hour

// Lifetimes of what a site issues. Renewal is not built yet; until it is, a
// short life would lock nodes out (docs/decisions/0003-identity.md).
const (
	authorityLifetime = 30 * 365 * 24 * time.Hour
	svidLifetime      = 2 * 365 * 24 * time.Hour
	// backdate lets certificates count on machines whose clock is behind.
	backdate = 24 * time.Hour
)
