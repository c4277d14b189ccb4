// Package coordinator puts a voter together: the replicated log, the state it
// builds, and, on the elected one, the controllers that act on it.
//
// It contains wiring and loops only; what is decided is decided in the pure
// packages below it. It never imports agent: what it needs of the node it is
// given in Config.
package coordinator
