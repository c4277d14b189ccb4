// Package sim runs a whole site on simulated time, in one goroutine, without
// real network, disks, clocks or containers: voters, agents, gossip and the
// people who use the site. Same seed, same history, bit for bit. DESIGN.md
// tells what is real in it and what is a model.
//
// It holds models, wiring and checks. It must not decide anything that the
// product decides: where the product's rules are pure they run here as they
// are.
package sim
