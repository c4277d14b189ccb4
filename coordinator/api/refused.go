package api

import (
	"errors"
	"net"
	"net/http"
	"strings"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// fromHeader names the host of the caller for whom a voter forwards a call.
const fromHeader = "Skerry-From"

// Refused counts refusals, or reads, for the audit log.
type Refused interface {
	Count(principal string, refusal *skerryv1.AuditRefusal)
}

// callerHost is the host of the connection, or, when a voter forwards, the one
// that it names.
func callerHost(r *http.Request) string {
	if peer, _ := mtls.PeerFrom(r.Context()); peer.Role == certs.RoleNode {
		if named := r.Header.Get(fromHeader); net.ParseIP(named) != nil {
			return named
		}
	}
	return hostOf(r.RemoteAddr)
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// errRecorded marks a refusal that is in the audit log already, by the entry
// that the state refused. It adds nothing to the text.
var errRecorded = errors.New("")

// countRefusal notes who was refused what. Mistakes are no refusals.
func countRefusal(into Refused, principal, from, procedure string, err error) {
	if errors.Is(err, errRecorded) {
		return
	}
	kind := problem.KindOf(problem.FromConnect(err))
	if kind != problem.Forbidden && kind != problem.Unauthenticated {
		return
	}
	into.Count(principal, &skerryv1.AuditRefusal{
		Reason: string(kind), Resource: calledFor(procedure), From: from, Message: messageOf(err),
	})
}

// calledFor is `ResourceService/Apply`.
func calledFor(procedure string) string {
	return strings.TrimPrefix(procedure[strings.LastIndex(procedure, ".")+1:], "/")
}

func messageOf(err error) string {
	var p *problem.Error
	if errors.As(problem.FromConnect(err), &p) {
		return p.Message
	}
	return err.Error()
}
