// Package audit is the tamper-evident log of a site: one Merkle tree (RFC 6962)
// over everything that somebody changed or was refused, checkpoints of it that
// voters sign, proofs, and exports that can be verified anywhere.
//
// It is pure: it hashes, signs and checks what it is given. coordinator/state
// builds the leaves, audit/leafstore keeps them.
package audit
