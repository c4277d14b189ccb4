package manifest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

var (
	imageShape    = shapeOf(alnum, alnum+"-._:/@+", alnum+"-._:/@+", 255)
	portNameShape = shapeOf(lower, lower+digits+"-", lower+digits, 15)
	envShape      = shapeOf(alnum[:52]+"_", alnum+"_", alnum+"_", 256)
	userPattern   = regexp.MustCompile(`^[A-Za-z0-9_][-A-Za-z0-9_.]{0,31}(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,31})?$`)
)

// Where a container with an identity finds the SPIFFE Workload API: the
// directory of the socket, its name there, and the variable that names it.
const (
	IdentityDir      = "/run/spiffe"
	IdentitySocket   = "workload.sock"
	IdentityVariable = "SPIFFE_ENDPOINT_SOCKET"
	IdentityAddress  = "unix://" + IdentityDir + "/" + IdentitySocket
)

// Bounds of disk and devices, of a placement and of a node.
const (
	MaxDisk        = 1 << 50
	MaxDeviceKinds = 16
	MaxDevices     = 1024
)

const (
	maxPorts        = 64
	maxMounts       = 32
	maxArguments    = 256
	maxEnv          = 256
	maxCapabilities = 64
	maxTextBytes    = 32 << 10
	maxPathBytes    = 1024
	minMemory       = 4 << 20
	maxMemory       = 16 << 40
	minTmpfs        = 4 << 10
)

func (v *validator) container(c *skerryv1.Container) {
	if c.GetImage() == "" {
		v.fail("container.image", "it is missing").Hint = "skerry image list shows what is loaded"
	} else if !imageShape.fits(c.GetImage()) {
		v.fail("container.image", "%q is not the name of an image", shorten(c.GetImage())).Hint = "skerry image list shows what is loaded"
	}
	v.arguments("container.command", c.GetCommand())
	v.arguments("container.args", c.GetArgs())
	v.env(c.GetEnv())
	if c.GetWorkingDir() != "" && !cleanAbsolute(c.GetWorkingDir()) {
		v.fail("container.workingDir", "%q is not a clean absolute path", shorten(c.GetWorkingDir()))
	}
	if c.GetUser() != "" && !userPattern.MatchString(c.GetUser()) {
		v.fail("container.user", "%q is neither USER nor USER:GROUP", shorten(c.GetUser()))
	}
	v.ports(c)
	v.resources(c.GetResources())
	v.mounts(c.GetMounts())
	v.secretUses(c)
	v.oneOf("container.network", c.GetNetwork(), "bridge", "host", "none")
	v.atMost("container.addCapabilities", len(c.GetAddCapabilities()), maxCapabilities)
	for i, capability := range c.GetAddCapabilities() {
		if !capabilities[capability] {
			v.fail(fmt.Sprintf("container.addCapabilities[%d]", i), "%q is not a capability", shorten(capability)).Hint =
				"write it without CAP_, as in NET_BIND_SERVICE"
		}
	}
}

func (v *validator) arguments(field string, arguments []string) {
	v.atMost(field, len(arguments), maxArguments)
	for i, argument := range arguments {
		v.text(fmt.Sprintf("%s[%d]", field, i), argument)
	}
}

func (v *validator) text(field, text string) {
	if len(text) > maxTextBytes {
		v.fail(field, "it is longer than %d KiB", maxTextBytes>>10)
	}
	if strings.ContainsRune(text, 0) {
		v.fail(field, "it holds a zero byte")
	}
}

func (v *validator) env(env map[string]string) {
	v.atMost("container.env", len(env), maxEnv)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		field := join("container.env", name)
		if !envShape.fits(name) {
			v.fail(field, "it is not the name of a variable")
		}
		v.text(field, env[name])
	}
}

func (v *validator) ports(c *skerryv1.Container) {
	v.atMost("container.ports", len(c.GetPorts()), maxPorts)
	if len(c.GetPorts()) > 0 && c.GetNetwork() == "none" {
		v.fail("container.ports", "a container without network has no ports")
	}
	names, published := map[string]bool{}, map[string]bool{}
	for i, port := range c.GetPorts() {
		field := fmt.Sprintf("container.ports[%d]", i)
		v.portName(field+".name", port.GetName(), names)
		v.between(field+".port", port.GetPort(), 1, 65535)
		v.oneOf(field+".protocol", port.GetProtocol(), "tcp", "udp")
		v.hostPort(field, c, port)
		if port.GetHostPort() == 0 {
			continue
		}
		key := fmt.Sprintf("%d/%s", port.GetHostPort(), port.GetProtocol())
		if published[key] {
			v.fail(field+".hostPort", "%s is given twice", key)
		}
		published[key] = true
	}
}

// maxPortRange keeps the search for a free port short.
const maxPortRange = 1000

func (v *validator) hostPort(field string, c *skerryv1.Container, port *skerryv1.Port) {
	first, last := port.GetHostPort(), port.GetHostPortLast()
	if first == 0 {
		if last != 0 {
			v.fail(field+".hostPortLast", "it ends a range that has no beginning: hostPort is missing")
		}
		return
	}
	v.between(field+".hostPort", first, 1, 65535)
	if c.GetNetwork() == "host" && (first != port.GetPort() || last != 0) {
		v.fail(field+".hostPort", "on the node's own network it must be %d, as port is", port.GetPort())
	}
	if last != 0 {
		v.between(field+".hostPortLast", last, first, min(65535, first+maxPortRange-1))
	}
}

func (v *validator) portName(field, name string, taken map[string]bool) {
	switch {
	case name == "":
		v.fail(field, "it is missing")
	case !portNameShape.fits(name):
		v.fail(field, "%q is not a port's name: 1 to 15 characters, a-z, 0-9 and -, starting with a letter", shorten(name))
	case taken[name]:
		v.fail(field, "%q is given twice", name)
	}
	taken[name] = true
}

func (v *validator) resources(r *skerryv1.Resources) {
	if _, err := CPU(r.GetCpu()); err != nil {
		v.fail("container.resources.cpu", "%w", err)
	}
	v.memory("container.resources.memory", r.GetMemory(), minMemory, "4Mi")
	if r.GetDisk() != "" {
		if disk, err := Memory(r.GetDisk()); err != nil || disk > MaxDisk {
			v.fail("container.resources.disk", "%q is not an amount of disk such as 500Mi or 20Gi, at most 1024Ti", shorten(r.GetDisk()))
		}
	}
	v.atMost("container.resources.devices", len(r.GetDevices()), MaxDeviceKinds)
	for _, name := range slices.Sorted(maps.Keys(r.GetDevices())) {
		field := join("container.resources.devices", name)
		v.label(field, name)
		v.between(field, r.GetDevices()[name], 1, MaxDevices)
	}
}

func (v *validator) memory(field, text string, low int64, lowText string) {
	bytes, err := Memory(text)
	if err != nil {
		v.fail(field, "%w", err)
	} else if bytes < low || bytes > maxMemory {
		v.fail(field, "%q is not between %s and 16Ti", text, lowText)
	}
}

func (v *validator) mounts(mounts []*skerryv1.Mount) {
	v.atMost("container.mounts", len(mounts), maxMounts)
	targets := map[string]bool{}
	for i, mount := range mounts {
		field := fmt.Sprintf("container.mounts[%d]", i)
		if !cleanAbsolute(mount.GetTarget()) || mount.GetTarget() == "/" {
			v.fail(field+".target", "%q is not a clean absolute path below /", shorten(mount.GetTarget()))
		}
		if targets[mount.GetTarget()] {
			v.fail(field+".target", "%q is given twice", shorten(mount.GetTarget()))
		}
		targets[mount.GetTarget()] = true
		switch {
		case countOf(mount.GetVolume() != "", mount.GetHostPath() != "", mount.GetTmpfs() != "") != 1:
			v.fail(field, "give exactly one of volume, hostPath and tmpfs")
		case mount.GetVolume() == "" && mount.GetSize() != "":
			v.fail(field+".size", "it is that of a volume").Hint = "tmpfs: 64Mi gives a tmpfs its size"
		case mount.GetVolume() != "": // checked with the workload
		case mount.GetTmpfs() != "":
			v.memory(field+".tmpfs", mount.GetTmpfs(), minTmpfs, "4Ki")
		case !cleanAbsolute(mount.GetHostPath()):
			v.fail(field+".hostPath", "%q is not a clean absolute path", shorten(mount.GetHostPath()))
		}
	}
}

func countOf(conditions ...bool) int {
	count := 0
	for _, c := range conditions {
		if c {
			count++
		}
	}
	return count
}

// identity: what the site puts into a container that has one, the manifest may
// not put there too.
func (v *validator) identity(w *skerryv1.Workload) {
	if !w.GetIdentity() {
		return
	}
	if _, given := w.GetContainer().GetEnv()[IdentityVariable]; given {
		v.fail(join("container.env", IdentityVariable), "the site sets it for a workload with identity: true")
	}
	for i, mount := range w.GetContainer().GetMounts() {
		if target := mount.GetTarget(); target == IdentityDir || strings.HasPrefix(target, IdentityDir+"/") {
			v.fail(fmt.Sprintf("container.mounts[%d].target", i), "with identity: true the site mounts the Workload API at %s", IdentityDir)
		}
	}
}

// cleanAbsolute: from /, without .., doubled slashes or one at the end.
func cleanAbsolute(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && len(p) <= maxPathBytes && !strings.ContainsRune(p, 0)
}
