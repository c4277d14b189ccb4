// Package sitetime is the time of a site: one that is agreed upon, that no
// single wrong clock can move, and that never goes back by itself.
//
// It is pure but for Keeper, which reads the clock that it is given. It must
// not decide anything about certificates: it only says what time it is.
package sitetime
