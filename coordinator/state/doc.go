// Package state is the site's replicated state: typed tables that every voter
// builds from the same log.
//
// Apply is pure: no clock, no randomness, no I/O, no order of maps; the
// coordinator stamps what it proposes. It trusts nothing: every entry is
// checked again, and what is wrong is refused with an outcome, never a panic,
// but for an entry of a kind that this version does not know: that must halt
// the voter before it falls behind silently.
//
// Objects are never changed once they are in a table. What View returns is
// shared by all readers and must not be changed either.
package state
