package manifest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

var (
	namePattern       = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,46}[a-z0-9])?$`)
	portNamePattern   = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,13}[a-z0-9])?$`)
	labelPattern      = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_./]{0,61}[A-Za-z0-9])?$`)
	envPattern        = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`)
	capabilityPattern = regexp.MustCompile(`^[A-Z][A-Z_]{1,30}$`)
	userPattern       = regexp.MustCompile(`^[A-Za-z0-9_][-A-Za-z0-9_.]{0,31}(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,31})?$`)
)

// Limits of lists and texts.
const (
	maxReplicas   = 1000
	maxLabels     = 32
	maxPorts      = 64
	maxMounts     = 32
	maxArguments  = 256
	maxEnv        = 256
	maxTextBytes  = 32 << 10
	maxImageBytes = 255
)

// CheckName refuses what cannot be the name of a resource.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%q is not a name: 1 to 48 characters, a-z, 0-9 and -, starting with a letter, not ending with -", name)
	}
	return nil
}

// Validate refuses a resource that is not right, naming the field. Defaults
// must have been filled in.
func Validate(resource *skerryv1.Resource) error {
	workload := resource.GetWorkload()
	if workload == nil {
		return problem.New(problem.Invalid, "", "only workloads can be applied").WithField("kind")
	}
	v := &validator{subject: "Workload/" + workload.GetName()}
	v.workload(workload)
	if v.first != nil {
		return v.first
	}
	return nil
}

// validator keeps the first problem.
type validator struct {
	subject string
	first   *problem.Error
}

func (v *validator) fail(field, format string, args ...any) *problem.Error {
	p := problem.New(problem.Invalid, v.subject, format, args...).WithField(field)
	if v.first == nil {
		v.first = p
	}
	return p
}

// hint adds what to do, if the problem is the first one.
func (v *validator) hint(p *problem.Error, hint string) { p.Hint = hint }

func (v *validator) workload(w *skerryv1.Workload) {
	if w.GetKind() != "Workload" {
		v.fail("kind", "it must be Workload")
	}
	if err := CheckName(w.GetName()); err != nil {
		v.fail("name", "%w", err)
	}
	if err := CheckName(w.GetProject()); err != nil {
		v.fail("project", "%w", err)
	}
	v.labels("labels", w.GetLabels())
	if w.GetReplicas() > maxReplicas {
		v.fail("replicas", "%d is more than %d", w.GetReplicas(), maxReplicas)
	}
	if w.GetContainer() == nil {
		v.fail("container", "it is missing: a workload must say what it runs")
	} else {
		v.container(w.GetContainer())
	}
	if w.GetHealth() != nil {
		v.health(w.GetHealth(), w.GetContainer())
	}
	v.oneOf("update.strategy", w.GetUpdate().GetStrategy(), "rolling", "recreate")
	v.between("update.maxUnavailable", w.GetUpdate().GetMaxUnavailable(), 1, maxReplicas)
	v.place(w.GetPlace())
	v.partition(w.GetPartition())
	v.oneOf("restart.policy", w.GetRestart().GetPolicy(), "always", "on-failure", "never")
	v.duration("restart.backoff", w.GetRestart().GetBackoff(), 100*time.Millisecond, 10*time.Minute)
	v.duration("restart.maxBackoff", w.GetRestart().GetMaxBackoff(), 100*time.Millisecond, time.Hour)
	v.duration("stopGrace", w.GetStopGrace(), 0, 10*time.Minute)
}

func (v *validator) labels(field string, labels map[string]string) {
	if len(labels) > maxLabels {
		v.fail(field, "%d labels, at most %d are taken", len(labels), maxLabels)
	}
	for key, value := range labels {
		if !labelPattern.MatchString(key) || (value != "" && !labelPattern.MatchString(value)) {
			v.fail(field+"."+key, "a label is at most 63 characters: letters, digits, and - _ . / between them")
		}
	}
}

func (v *validator) container(c *skerryv1.Container) {
	if c.GetImage() == "" || len(c.GetImage()) > maxImageBytes || strings.ContainsAny(c.GetImage(), " \t\n") {
		v.hint(v.fail("container.image", "%q is not the name of an image", c.GetImage()), "skerry image list shows what is loaded")
	}
	v.arguments("container.command", c.GetCommand())
	v.arguments("container.args", c.GetArgs())
	v.env(c.GetEnv())
	if c.GetWorkingDir() != "" && !path.IsAbs(c.GetWorkingDir()) {
		v.fail("container.workingDir", "%q is not an absolute path", c.GetWorkingDir())
	}
	if c.GetUser() != "" && !userPattern.MatchString(c.GetUser()) {
		v.fail("container.user", "%q is neither a user nor USER:GROUP", c.GetUser())
	}
	v.oneOf("container.network", c.GetNetwork(), "bridge", "host", "none")
	v.ports(c)
	v.resources(c.GetResources())
	v.mounts(c.GetMounts())
	for i, capability := range c.GetAddCapabilities() {
		if !capabilityPattern.MatchString(capability) || strings.HasPrefix(capability, "CAP_") {
			v.hint(v.fail(fmt.Sprintf("container.addCapabilities[%d]", i), "%q is not a capability", capability),
				"write it without CAP_: NET_BIND_SERVICE")
		}
	}
}

func (v *validator) arguments(field string, arguments []string) {
	if len(arguments) > maxArguments {
		v.fail(field, "%d arguments, at most %d are taken", len(arguments), maxArguments)
	}
	for i, argument := range arguments {
		v.text(fmt.Sprintf("%s[%d]", field, i), argument)
	}
}

func (v *validator) text(field, text string) {
	if len(text) > maxTextBytes || strings.ContainsRune(text, 0) {
		v.fail(field, "it is longer than %d KiB or holds a zero byte", maxTextBytes>>10)
	}
}

func (v *validator) env(env map[string]string) {
	if len(env) > maxEnv {
		v.fail("container.env", "%d variables, at most %d are taken", len(env), maxEnv)
	}
	for name, value := range env {
		if !envPattern.MatchString(name) {
			v.fail("container.env."+name, "it is not the name of a variable")
		}
		v.text("container.env."+name, value)
	}
}

func (v *validator) ports(c *skerryv1.Container) {
	if len(c.GetPorts()) > maxPorts {
		v.fail("container.ports", "%d ports, at most %d are taken", len(c.GetPorts()), maxPorts)
	}
	if len(c.GetPorts()) > 0 && c.GetNetwork() == "none" {
		v.fail("container.ports", "a container without network has no ports")
	}
	names, published := map[string]bool{}, map[string]bool{}
	for i, port := range c.GetPorts() {
		field := fmt.Sprintf("container.ports[%d]", i)
		if !portNamePattern.MatchString(port.GetName()) {
			v.fail(field+".name", "%q is not a port's name: 1 to 15 characters, a-z, 0-9 and -", port.GetName())
		}
		if names[port.GetName()] {
			v.fail(field+".name", "%q is given twice", port.GetName())
		}
		names[port.GetName()] = true
		v.between(field+".port", port.GetPort(), 1, 65535)
		v.oneOf(field+".protocol", port.GetProtocol(), "tcp", "udp")
		if port.GetHostPort() == 0 {
			continue
		}
		v.between(field+".hostPort", port.GetHostPort(), 1, 65535)
		if c.GetNetwork() == "host" && port.GetHostPort() != port.GetPort() {
			v.fail(field+".hostPort", "with the node's own network it must equal port")
		}
		key := fmt.Sprintf("%d/%s", port.GetHostPort(), port.GetProtocol())
		if published[key] {
			v.fail(field+".hostPort", "%s is given twice", key)
		}
		published[key] = true
	}
}

const (
	minMemory = 4 << 20
	maxMemory = 16 << 40
)

func (v *validator) resources(r *skerryv1.Resources) {
	if _, err := CPU(r.GetCpu()); err != nil {
		v.fail("container.resources.cpu", "%w", err)
	}
	memory, err := Memory(r.GetMemory())
	if err != nil {
		v.fail("container.resources.memory", "%w", err)
	} else if memory < minMemory || memory > maxMemory {
		v.fail("container.resources.memory", "%q is not between 4Mi and 16Ti", r.GetMemory())
	}
}

func (v *validator) mounts(mounts []*skerryv1.Mount) {
	if len(mounts) > maxMounts {
		v.fail("container.mounts", "%d mounts, at most %d are taken", len(mounts), maxMounts)
	}
	targets := map[string]bool{}
	for i, mount := range mounts {
		field := fmt.Sprintf("container.mounts[%d]", i)
		if !cleanAbsolute(mount.GetTarget()) || mount.GetTarget() == "/" {
			v.fail(field+".target", "%q is not a clean absolute path below /", mount.GetTarget())
		}
		if targets[mount.GetTarget()] {
			v.fail(field+".target", "%q is given twice", mount.GetTarget())
		}
		targets[mount.GetTarget()] = true
		switch {
		case (mount.GetHostPath() == "") == (mount.GetTmpfs() == ""):
			v.fail(field, "give exactly one of hostPath and tmpfs")
		case mount.GetTmpfs() != "":
			if _, err := Memory(mount.GetTmpfs()); err != nil {
				v.fail(field+".tmpfs", "%w", err)
			}
		case !cleanAbsolute(mount.GetHostPath()):
			v.fail(field+".hostPath", "%q is not a clean absolute path", mount.GetHostPath())
		}
	}
}

func cleanAbsolute(p string) bool { return path.IsAbs(p) && path.Clean(p) == p }

func (v *validator) health(h *skerryv1.Health, c *skerryv1.Container) {
	given := 0
	if h.GetHttp() != nil {
		given++
		v.checkPort("health.http.port", h.GetHttp().GetPort(), c)
		if !strings.HasPrefix(h.GetHttp().GetPath(), "/") || strings.ContainsAny(h.GetHttp().GetPath(), " \r\n") {
			v.fail("health.http.path", "%q does not begin with / or holds a space", h.GetHttp().GetPath())
		}
	}
	if h.GetTcp() != nil {
		given++
		v.checkPort("health.tcp.port", h.GetTcp().GetPort(), c)
	}
	if h.GetExec() != nil {
		given++
		if len(h.GetExec().GetCommand()) == 0 {
			v.fail("health.exec.command", "it is empty")
		}
		v.arguments("health.exec.command", h.GetExec().GetCommand())
	}
	if given != 1 {
		v.fail("health", "give exactly one of http, tcp and exec")
	}
	v.duration("health.interval", h.GetInterval(), 100*time.Millisecond, time.Hour)
	v.duration("health.timeout", h.GetTimeout(), 100*time.Millisecond, time.Minute)
	v.duration("health.startPeriod", h.GetStartPeriod(), 0, time.Hour)
	v.between("health.failures", h.GetFailures(), 1, 100)
}

func (v *validator) checkPort(field, name string, c *skerryv1.Container) {
	at := slices.IndexFunc(c.GetPorts(), func(p *skerryv1.Port) bool { return p.GetName() == name })
	if at < 0 {
		v.hint(v.fail(field, "the container has no port named %q", name), "name one of container.ports")
		return
	}
	if c.GetPorts()[at].GetProtocol() != "tcp" {
		v.fail(field, "port %q is not a tcp port", name)
	}
}

func (v *validator) place(p *skerryv1.Place) {
	if !labelPattern.MatchString(p.GetSpread()) {
		v.fail("place.spread", "%q is not the name of a label", p.GetSpread())
	}
	for i, requirement := range p.GetRequire() {
		field := fmt.Sprintf("place.require[%d]", i)
		if !labelPattern.MatchString(requirement.GetLabel()) {
			v.fail(field+".label", "%q is not the name of a label", requirement.GetLabel())
		}
		if len(requirement.GetIn()) == 0 {
			v.fail(field+".in", "it is empty: no node could ever meet it")
		}
	}
}

func (v *validator) partition(p *skerryv1.Partition) {
	if p.GetMode() == "exclusive" {
		v.hint(v.fail("partition.mode", "exclusive is not available in this version"),
			"use stay, which never runs twice because it never moves by itself")
		return
	}
	v.oneOf("partition.mode", p.GetMode(), Replicate, Stay)
	v.duration("partition.replaceAfter", p.GetReplaceAfter(), 0, 24*time.Hour)
}

func (v *validator) oneOf(field, value string, accepted ...string) {
	if !slices.Contains(accepted, value) {
		v.fail(field, "%q is none of %s", value, strings.Join(accepted, ", "))
	}
}

func (v *validator) between(field string, value, low, high uint32) {
	if value < low || value > high {
		v.fail(field, "%d is not between %d and %d", value, low, high)
	}
}

func (v *validator) duration(field, text string, low, high time.Duration) {
	d, err := Duration(text)
	if err != nil {
		v.fail(field, "%w", err)
		return
	}
	if d < low || d > high {
		v.fail(field, "%s is not between %s and %s", text, low, high)
	}
}
