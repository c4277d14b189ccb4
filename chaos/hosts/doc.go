// Package hosts makes a site of whole hosts on one machine. A host is a network
// namespace on a bridge, a mount namespace and a PID namespace: ending the
// first process in it is pulling its power cord, for the agent, containerd and
// every container at once. What is on its disk stays.
//
// The bridge is in a namespace of its own, from which operators call the site;
// the machine's own network is not touched. Everything needs root.
package hosts
