//go:build integration

package libvirt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Subject {
		h := newNode(t, theOne)
		d := h.open(t)
		return conformance.Subject{
			Driver: d,
			Reopen: func(t *testing.T, gone func()) conformance.Driver {
				must(t, d.Close())
				gone()
				d = h.open(t)
				return d
			},
			Break: func(t *testing.T, id string) {
				must(t, os.MkdirAll(filepath.Join(d.instanceDir(id), "half"), 0o711))
			},
			Other:     func(t *testing.T) conformance.Driver { return newNode(t, theOne).open(t) },
			Leftovers: h.leftovers,
			Machine:   &conformance.Machine{Image: disk, Shape: shape},
		}
	})
}

// leftovers looks everywhere for what is named after an instance.
func (h *node) leftovers(t *testing.T, id string) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{
		h.config.Dir + "/instances/" + id, h.config.RunDir + "/consoles/" + h.open(t).uuidOf(id).String(),
		theOne.Dir + "/etc/libvirt/qemu/*" + id + "*", theOne.Dir + "/var/lib/libvirt/qemu/*/*" + id + "*",
	} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		left = append(left, found...)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, process := range processes {
		if line, err := os.ReadFile(process); err == nil && strings.Contains(string(line), domainName(id)) {
			left = append(left, process)
		}
	}
	d := h.open(t)
	must(t, d.link.do(t.Context(), callTime, func(l *golibvirt.Libvirt) error {
		all, _, err := l.ConnectListAllDomains(1, 0)
		for _, domain := range all {
			if domain.Name == domainName(id) {
				left = append(left, "domain "+domain.Name)
			}
		}
		return err
	}))
	return left
}
