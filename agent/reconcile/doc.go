// Package reconcile decides what a node does next: it holds what should run
// against what runs and names the one next action for each placement. It is
// pure: no I/O, no clock, no goroutines. The supervisor carries the actions
// out and tells it what came of them.
//
// It never stops a healthy instance unless its orders say so, and never has
// two actions under way for one placement.
package reconcile
