// Package guard is the one process beside the agent that ends what is exclusive
// when its lease ends, whatever has become of the agent. The agent tells it of
// each lease before it starts anything; it kills a margin before the lease
// ends, makes sure that nothing is left, and keeps it so. Where it cannot, and
// the machine has a watchdog, it lets that reset the machine.
//
// Core decides and is pure. The rest is a thin shell around it: a socket that
// only root may use, and the kernel's control groups. The guard is small on
// purpose: its memory is locked, all that it holds is bounded, and it needs
// neither network, nor disk, nor the container runtime.
package guard
