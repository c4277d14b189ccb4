package manifest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (v *validator) health(h *skerryv1.Health, w *skerryv1.Workload) {
	given := 0
	if h.GetHttp() != nil {
		given++
		v.healthPort("health.http.port", h.GetHttp().GetPort(), w)
		v.urlPath("health.http.path", h.GetHttp().GetPath())
	}
	if h.GetTcp() != nil {
		given++
		v.healthPort("health.tcp.port", h.GetTcp().GetPort(), w)
	}
	if h.GetExec() != nil {
		given++
		if len(h.GetExec().GetCommand()) == 0 {
			v.fail("health.exec.command", "it is empty")
		}
		v.arguments("health.exec.command", h.GetExec().GetCommand())
	}
	if h.GetGuestAgent() != nil {
		given++
		if w.GetVm() == nil {
			v.fail("health.guestAgent", "a container has no such agent").Hint = "use http, tcp or exec"
		}
	}
	if given != 1 {
		v.fail("health", "give exactly one of http, tcp, exec and guestAgent")
	}
	v.duration("health.interval", h.GetInterval(), 100*time.Millisecond, time.Hour)
	v.duration("health.timeout", h.GetTimeout(), 100*time.Millisecond, time.Minute)
	v.between("health.failures", h.GetFailures(), 1, 100)
	v.duration("health.startPeriod", h.GetStartPeriod(), 0, time.Hour)
}

// urlPath takes what can stand in the first line of a request as it is.
func (v *validator) urlPath(field, p string) {
	visible := func(r rune) bool { return r > ' ' && r < 0x7f }
	if !strings.HasPrefix(p, "/") || len(p) > maxPathBytes ||
		strings.ContainsFunc(p, func(r rune) bool { return !visible(r) }) {
		v.fail(field, "%q is not a path: it begins with / and holds only visible ASCII", shorten(p))
	}
}

// healthPort is one of the container's by its name, or one of a guest by its number:
// a guest is reached over a bridge alone.
func (v *validator) healthPort(field, port string, w *skerryv1.Workload) {
	if w.GetVm() == nil {
		v.checkPort(field, port, w.GetContainer())
		return
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		v.fail(field, "%q is not the number of a port in the guest", shorten(port)).Hint = `port: "8080"`
	}
	if !slices.ContainsFunc(w.GetVm().GetNetworks(), func(n *skerryv1.Nic) bool { return n.GetBridge() != "" }) {
		v.fail(field, "a guest without a card on a bridge is reached by nobody").Hint = "give it one under vm.networks, or use guestAgent or exec"
	}
}

func (v *validator) checkPort(field, name string, c *skerryv1.Container) {
	at := slices.IndexFunc(c.GetPorts(), func(p *skerryv1.Port) bool { return p.GetName() == name })
	switch {
	case name == "":
		v.fail(field, "it is missing").Hint = "name one of container.ports"
	case at < 0:
		v.fail(field, "the container has no port named %q", shorten(name)).Hint = "name one of container.ports"
	case c.GetPorts()[at].GetProtocol() != "tcp":
		v.fail(field, "port %q is not a tcp port", name)
	}
}
