package cli

import (
	"fmt"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// template adds what each placement of a workload runs.
func template(f *fields, w *skerryv1.Workload) {
	if w.GetVm() != nil {
		vmTemplate(f, w)
		return
	}
	container := w.GetContainer()
	f.add("Image", container.GetImage())
	f.add("Command", strings.Join(append(container.GetCommand(), container.GetArgs()...), " "))
	f.add("Resources", sentence(", ", named("cpu", container.GetResources().GetCpu()), named("memory", container.GetResources().GetMemory())))
	f.add("Network", container.GetNetwork())
	f.add("Ports", ports(container.GetPorts()))
	f.add("Mounts", mounts(container.GetMounts()))
	f.add("Secrets", secretUses(container.GetSecrets()))
	f.add("Health", health(w.GetHealth()))
	f.add("Place", place(w.GetPlace()))
}

// named is a value behind its name, or nothing.
func named(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func ports(all []*skerryv1.Port) string {
	var texts []string
	for _, p := range all {
		text := fmt.Sprintf("%d/%s", p.GetPort(), p.GetProtocol())
		if p.GetHostPort() != 0 {
			text = fmt.Sprintf("%s at port %d of the node", text, p.GetHostPort())
		}
		if p.GetHostPortLast() != 0 {
			text = fmt.Sprintf("%s, or the first free one up to %d", text, p.GetHostPortLast())
		}
		texts = append(texts, sentence(" ", p.GetName(), text))
	}
	return strings.Join(texts, ", ")
}

func mounts(all []*skerryv1.Mount) string {
	var texts []string
	for _, m := range all {
		text := m.GetTarget() + " from " + m.GetHostPath()
		switch {
		case m.GetVolume() != "":
			text = m.GetTarget() + " from volume " + m.GetVolume()
		case m.GetHostPath() == "":
			text = m.GetTarget() + " tmpfs " + m.GetTmpfs()
		}
		if m.GetReadOnly() {
			text += " read-only"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func health(h *skerryv1.Health) string {
	var check string
	switch {
	case h.GetHttp() != nil:
		check = fmt.Sprintf("http %s at port %s", h.GetHttp().GetPath(), h.GetHttp().GetPort())
	case h.GetTcp() != nil:
		check = "tcp at port " + h.GetTcp().GetPort()
	case h.GetGuestAgent() != nil:
		check = "the guest's agent answers"
	case h.GetExec() != nil:
		check = "exec " + strings.Join(h.GetExec().GetCommand(), " ")
	default:
		return "works while its process runs"
	}
	return sentence(", ", check, named("every", h.GetInterval()), fmt.Sprintf("%d failures in a row count", h.GetFailures()))
}

func place(p *skerryv1.Place) string {
	parts := []string{named("spread over", p.GetSpread())}
	for _, r := range p.GetRequire() {
		parts = append(parts, fmt.Sprintf("label %s is %s", r.GetLabel(), manifest.Condition(r)))
	}
	for _, r := range p.GetKeepIn() {
		parts = append(parts, fmt.Sprintf("kept in label %s is %s", r.GetLabel(), manifest.Condition(r)))
	}
	return sentence(", ", parts...)
}

func update(u *skerryv1.Update) string {
	if u.GetStrategy() == manifest.Recreate {
		return u.GetStrategy()
	}
	parts := []string{u.GetStrategy(), fmt.Sprintf("at most %d missing", u.GetMaxUnavailable())}
	if u.GetMaxSurge() > 0 {
		parts = append(parts, fmt.Sprintf("%d more", u.GetMaxSurge()))
	}
	if u.GetStrategy() == manifest.Canary {
		parts = append(parts, fmt.Sprintf("%d first", u.GetCanary()))
	}
	if u.GetPromoteAfter() != "" {
		parts = append(parts, "promoted "+map[bool]string{true: "by hand", false: "after " + u.GetPromoteAfter()}[u.GetPromoteAfter() == manifest.Manual])
	}
	if u.GetMinHealthy() != "" && u.GetMinHealthy() != "0s" {
		parts = append(parts, "healthy for "+u.GetMinHealthy())
	}
	if u.GetAutoRollback() {
		parts = append(parts, "rolled back when it fails")
	}
	return strings.Join(parts, ", ")
}

func partition(p *skerryv1.Partition) string {
	return sentence(", ", p.GetMode(), named("lease", p.GetLease()), named("replaced after", p.GetReplaceAfter()))
}

func restartPolicy(r *skerryv1.Restart) string {
	return sentence(", ", r.GetPolicy(), named("first after", r.GetBackoff()), named("at most", r.GetMaxBackoff()))
}
