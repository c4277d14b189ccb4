package api

import (
	"context"
	"errors"
	"net"
	"net/http"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/counts"
)

// fromHeader names the host of the caller for whom a voter forwards a call.
const fromHeader = "Skerry-From"

// Refused counts refusals, or reads, for the audit log.
type Refused = counts.Counter

// callerHost is the host of the connection, or, when a voter forwards, the one
// that it names.
func callerHost(r *http.Request) string {
	if peer, _ := mtls.PeerFrom(r.Context()); peer.Role == certs.RoleNode {
		if named := r.Header.Get(fromHeader); net.ParseIP(named) != nil {
			return named
		}
	}
	return counts.HostOf(r.RemoteAddr)
}

// errRecorded marks a refusal that is in the audit log already, by the entry
// that the state refused. It adds nothing to the text.
var errRecorded = errors.New("")

// countRefusal notes who was refused what. Mistakes are no refusals.
func countRefusal(into Refused, principal, from, procedure string, err error) {
	if errors.Is(err, errRecorded) {
		return
	}
	counts.Refused(into, principal, from, procedure, err)
}

// Proved is who calls on a protocol on which the chain of trust vouches for the
// caller.
func Proved(ctx context.Context) string {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer has no name
	return peer.ID.String()
}

// Claimed stands for all who call where a certificate proves nothing: whoever is
// refused there must not fill the audit log in the names of others.
func Claimed(context.Context) string { return "renewal" }
