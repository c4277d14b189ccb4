// Package orders is how a node's orders travel on its sync stream. Most of them
// is the same for every node of the site, above all the peers: with each stream
// carrying all of that each time, a site of thousands of nodes would send
// millions of records for one new node. So it is encoded once for all streams,
// and sent on a stream only when it has changed since that stream last had it.
//
// Book is the coordinator's side, Reader the agent's. What a Reader puts together
// is what the coordinator would have sent whole.
package orders
