package access

import (
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Principal is who asks.
type Principal struct {
	// ID is its SPIFFE ID; empty for somebody without a certificate.
	ID     string
	Caller skerryv1.Caller
	// Project of a workload; empty for all others.
	Project string
	Name    string
}

// Anybody has shown no certificate.
var Anybody = Principal{Caller: skerryv1.Caller_CALLER_ANYBODY}

// Root on the machine of a node, as the kernel says.
var Root = Principal{Caller: skerryv1.Caller_CALLER_ROOT}

// PrincipalOf a SPIFFE ID: spiffe://SITE/operator/NAME, spiffe://SITE/node/NAME
// or spiffe://SITE/workload/PROJECT/NAME. Any other is nobody who may call.
func PrincipalOf(id string) Principal {
	p := Principal{ID: id}
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok {
		return p
	}
	parts := strings.Split(rest, "/")
	switch {
	case len(parts) == 3 && parts[1] == "operator":
		p.Caller, p.Name = skerryv1.Caller_CALLER_OPERATOR, parts[2]
	case len(parts) == 3 && parts[1] == "node":
		p.Caller, p.Name = skerryv1.Caller_CALLER_NODE, parts[2]
	case len(parts) == 4 && parts[1] == "workload":
		p.Caller, p.Project, p.Name = skerryv1.Caller_CALLER_WORKLOAD, parts[2], parts[3]
	}
	return p
}

// Who it is in a word, for people: `operator kim`, `workload shop/web`.
func (p Principal) String() string {
	switch p.Caller {
	case skerryv1.Caller_CALLER_OPERATOR:
		return "operator " + p.Name
	case skerryv1.Caller_CALLER_WORKLOAD:
		return "workload " + p.Project + "/" + p.Name
	case skerryv1.Caller_CALLER_NODE, skerryv1.Caller_CALLER_VOTER:
		return "node " + p.Name
	case skerryv1.Caller_CALLER_ROOT:
		return "root on this machine"
	default:
		return "somebody without a certificate"
	}
}

// ParsePrincipal reads what people write for a principal of the site: a SPIFFE
// ID, `operator/NAME`, `workload/PROJECT/NAME`, or the name of an operator.
func ParsePrincipal(site, text string) (Principal, error) {
	id := text
	switch {
	case strings.HasPrefix(text, "spiffe://"):
	case strings.Contains(text, "/"):
		id = "spiffe://" + site + "/" + text
	default:
		id = "spiffe://" + site + "/operator/" + text
	}
	who := PrincipalOf(id)
	if who.Caller == skerryv1.Caller_CALLER_UNSPECIFIED || who.Name == "" || !strings.HasPrefix(id, "spiffe://"+site+"/") {
		return Principal{}, problem.New(problem.Invalid, "", "%.80q is no principal of site %s", text, site).WithField("principal").
			WithHint("write operator/NAME, workload/PROJECT/NAME or node/NAME")
	}
	return who, nil
}
