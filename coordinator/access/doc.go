// Package access gives the rules of skerry.dev/shared/access what they judge
// by: the graph of what is bound to which node. It also refuses policies after
// which nobody could change who may do what.
//
// The decision itself is in shared/access, because a node that is cut off
// makes it as well.
package access
