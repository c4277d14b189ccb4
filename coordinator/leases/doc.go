// Package leases is the coordinator's side of the leases under which exclusive
// placements run: what it has granted in its term, and when it may be sure that
// nobody holds a lease any more.
//
// It is pure: no clock, no I/O. A lease runs from the moment at which its node
// sent the request, so it has ended everywhere once it has ended counted from
// when the request arrived. What a predecessor granted nobody knows; but it
// granted nothing after this coordinator's first commit, because each grant waits
// for a round of a majority that began after the request arrived. See SAFETY,
// rule 2, and docs/decisions/0036-exclusive-leases.md.
package leases
