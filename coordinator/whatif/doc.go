// Package whatif answers what would become of a site if nodes were lost, if
// machines came, if a manifest were applied. It runs the real controllers and
// the real scheduler on a fork of the state, with nodes that do at once what
// they are told.
//
// It is pure, and it never touches the state that it is asked about.
package whatif
