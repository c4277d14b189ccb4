// Package api serves the operators' API (skerry.v1) and joining on a voter.
//
// A request passes, in this order: who (the peer's SVID, checked against the
// operator's record on every call), where (writes go on to the coordinator),
// valid (defaults and schema), then one entry in the log. The package decides
// nothing about placements and keeps no state.
package api
