// Package deferred is about changes that wait until the site is in reach: how an
// operator signs one, how whoever gets it knows that it is that operator's, and
// the service that keeps and lists them, which voters and other nodes share.
//
// It carries nothing out. A node can withhold a change or send it late; it can
// make none, alter none, and have none made twice (docs/decisions/0046).
package deferred
