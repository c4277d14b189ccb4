// Package naming is the node's DNS: it answers this node's containers with what
// the names of the site stand for, from the node's own copy of the endpoints, so
// that it answers also while no voter is in reach.
//
// Zone decides what a question is answered with and has no effects; Book holds
// the copy; Follower keeps it up to date; Server reads and writes packets, within
// bounds. What a container asks never leaves the node unless the node's
// configuration names servers to forward to.
package naming
