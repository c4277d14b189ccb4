package main

import "strings"

const (
	module   = "skerry.dev"
	maxLines = 700
)

var (
	vagueNames = []string{"util", "utils", "common", "helpers", "types", "misc"}
	notes      = []string{"TODO", "FIXME", "XXX"}
)

// layers lists what each part of the tree may import beside itself.
var layers = map[string][]string{
	"shared":           {},
	"certs":            {"shared"},
	"agent":            {"certs", "shared"},
	"coordinator":      {"certs", "shared"},
	"agent/cmd/skerry": {"agent", "coordinator", "certs", "shared"},
	"chaos":            {"agent", "coordinator", "certs", "shared"},
	"packaging":        {"agent", "chaos", "shared"},
}

// pure packages decide; they may not import those that act.
var pure = map[string][]string{
	"coordinator/state":            {"coordinator/consensus", "coordinator/api", "certs/mtls"},
	"coordinator/scheduler":        {"coordinator/consensus", "coordinator/api", "coordinator/lifecycle", "certs"},
	"coordinator/lifecycle":        {"coordinator/api", "coordinator/dispatcher", "certs"},
	"coordinator/consensus/voters": {"coordinator/state", "coordinator/api", "certs"},
	"agent/reconcile":              {"agent/supervisor", "agent/runtime/containerd", "certs"},
	"shared/manifest":              {"shared/client", "shared/cli", "shared/env"},
}

// forbidden says why folder must not import another of ours; empty when it may.
func forbidden(folder, imported string) string {
	for _, not := range pure[folder] {
		if within(imported, not) {
			return "it decides only, and has no effects"
		}
	}
	layer := layerOf(folder)
	target := layerOf(imported)
	if target == layer && target != "agent/cmd/skerry" {
		return ""
	}
	for _, may := range layers[layer] {
		if target == may {
			return ""
		}
	}
	return "imports point from agent/cmd to agent and coordinator, from there to certs, from there to shared"
}

// layerOf is the longest key of layers that holds the folder.
func layerOf(folder string) string {
	best := ""
	for layer := range layers {
		if within(folder, layer) && len(layer) > len(best) {
			best = layer
		}
	}
	return best
}

func within(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}

// effects that go through a seam.
var effects = map[string]string{
	"time.Now":         "env.Clock",
	"time.Since":       "env.Clock",
	"time.Until":       "env.Clock",
	"time.Sleep":       "env.Sleep",
	"time.After":       "env.Clock",
	"time.AfterFunc":   "env.Clock",
	"time.NewTimer":    "env.Clock",
	"time.NewTicker":   "env.Clock",
	"time.Tick":        "env.Clock",
	"net.Dial":         "env.Net",
	"net.DialTimeout":  "env.Net",
	"net.Listen":       "env.Net",
	"net.ListenPacket": "env.Net",
	"os.Open":          "env.FS",
	"os.OpenFile":      "env.FS",
	"os.Create":        "env.FS",
	"os.ReadFile":      "env.FS",
	"os.WriteFile":     "env.FS",
	"os.Remove":        "env.FS",
	"os.RemoveAll":     "env.FS",
	"os.Rename":        "env.FS",
	"os.Mkdir":         "env.FS",
	"os.MkdirAll":      "env.FS",
	"os.ReadDir":       "env.FS",
	"os.Stat":          "env.FS",
	"os.Getenv":        "a parameter",

	"math/rand.Int":      "env.Rand",
	"math/rand.Intn":     "env.Rand",
	"math/rand/v2.IntN":  "env.Rand",
	"math/rand/v2.Int":   "env.Rand",
	"math/rand/v2.N":     "env.Rand",
	"crypto/rand.Read":   "env.Rand",
	"crypto/rand.Reader": "env.Rand",
}

// shells may act. Each has its reason.
var shells = []struct{ path, reason string }{
	{"shared/env/", "it is the seams"},
	{"agent/cmd/skerry/", "main: it wires the real world in"},
	{"agent/config/", "reads this machine's file and host name before anything else is there"},
	{"agent/probe/", "looks at the machine"},
	{"agent/former.go", "removes directories that Pebble wrote, past env.FS"},
	{"agent/runtime/containerd/", "the shell around containerd, CNI and log files"},
	{"agent/runtime/runlog/", "the shell around log files of what runs"},
	{"agent/runtime/libvirt/", "the shell around libvirt, qemu-img and files of disks"},
	{"agent/runtime/snapshot/", "the shell around copies of files of disks"},
	{"agent/runtime/directory/", "the shell around directories of the node that containers mount"},
	{"agent/runtime/conformance/", "drives real runtimes in tests"},
	{"agent/runtime/standstill/", "stops real processes in tests"},
	{"agent/runtime/testimage/", "makes images for tests out of the machine's busybox"},
	{"agent/guard/", "control groups, the watchdog and what must be fast and not on a disk are its business"},
	{"agent/identity/workloadapi/", "the kernel tells who is at the other end of a socket"},
	{"agent/gossip/", "Serf and memberlist keep their own time"},
	{"certs/mtls/", "deadlines of connections are the kernel's time"},
	{"coordinator/consensus/pebblelog/", "Pebble's file system is injected as vfs.FS"},
	{"shared/cli/", "operators' terminal and the files that they name"},
	{"chaos/hosts/", "real hosts"},
	{"chaos/bench/", "measures the real world"},
	{"chaos/partition/", "strikes real hosts"},
	{"chaos/campaign/", "measures the simulation"},
	{"chaos/seeds/", "runs processes"},
	{"packaging/", "tools of the build"},
}

func isShell(path string) bool {
	for _, s := range shells {
		if strings.HasPrefix(path, s.path) {
			return true
		}
	}
	return false
}
