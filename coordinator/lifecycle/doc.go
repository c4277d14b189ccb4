// Package lifecycle decides what the elected coordinator does: which nodes are
// lost, how many placements there should be and which of them go, who votes.
// Where placements go is the scheduler's business.
//
// Core is pure: no clock, no randomness, no I/O, no order of maps. Its caller
// tells it what it sees, calls Step with the state and the time, and carries
// out what Step asks for. It lives for one term: what the predecessor saw it
// learns from the state alone.
package lifecycle
