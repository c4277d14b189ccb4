// Package access decides who may do what. It is pure: a decision depends on the
// records it is given and on nothing else, so that a node that is cut off
// decides as the coordinator would, from the records in its ledger.
//
// Three things are asked, in this order. May this kind of caller ask for this
// at all: the declaration of the RPC (rules.go). Nodes: are they bound to it.
// Operators and workloads: what the policies say, those of the roles and those
// that the site's administrators wrote, in Cedar.
//
// It knows no connections and reads no state; package guard puts it before the
// handlers.
package access
