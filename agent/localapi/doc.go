// Package localapi is the operators' API as a node answers it that is not a
// voter: it sends callers on to a voter in reach (HTTP 307); when there is
// none, it answers what it knows by itself, from its ledger, marked stale. It
// also serves what voters ask of every node: logs, exec, ping.
//
// It never forwards on behalf of a caller: only voters may (see
// coordinator/api).
package localapi
