// Package lease is the node's side of the leases under which exclusive
// placements run: what it holds, when it asks again, and when it stops by itself
// because no answer came.
//
// Holder decides and is pure; Keeper is the shell around it, which asks the
// coordinator and tells the guard. A lease counts from the sending of the request
// that was granted, on CLOCK_BOOTTIME, and only for as long as the guard knows of
// it. Once it has ended for something that had begun, that never runs again: the
// log makes another placement.
package lease
