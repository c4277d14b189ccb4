package libvirt

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"skerry.dev/agent/guard"
	"skerry.dev/agent/runtime"
)

// metadataSpace is the XML namespace of our element in a domain's metadata.
const metadataSpace = "https://skerry.dev/ns/instance/1"

// metadata says whose a domain is.
type metadata struct {
	XMLName xml.Name `xml:"instance"`
	// Space is there when it is written; libvirt hands the element out without.
	Space     string `xml:"xmlns,attr,omitempty"`
	Owner     string `xml:"owner,attr"`
	Site      string `xml:"site,attr"`
	Project   string `xml:"project,attr"`
	Placement string `xml:"placement,attr"`
	Workload  string `xml:"workload,attr"`
	ID        string `xml:"id,attr"`
}

func (d *Driver) metadata(spec runtime.Spec) (string, error) {
	m := metadata{
		Space: metadataSpace, Owner: d.owner, Site: d.siteName(), Project: spec.Project, Placement: spec.Placement, Workload: spec.Workload, ID: spec.ID,
	}
	text, err := xml.Marshal(m)
	return string(text), err
}

// ours returns the instance of a domain's metadata; false: it is not ours.
func (d *Driver) ours(text string) (string, bool) {
	var m metadata
	if err := xml.Unmarshal([]byte(text), &m); err != nil || m.Owner != d.owner || runtime.CheckID(m.ID) != nil {
		return "", false
	}
	return m.ID, true
}

// siteName is empty until the node knows of which site it is.
func (d *Driver) siteName() string {
	if site := d.site.Load(); site != nil {
		return *site
	}
	return ""
}

// uuidOf an instance is always the same, so that a call whose answer did not come
// can be made again, and the truth be looked up. It is the same on all nodes of a
// site: a machine that moves keeps it.
func (d *Driver) uuidOf(id string) uuid.UUID {
	sum := sha256.Sum256([]byte(d.siteName() + "/" + id))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // version 8: our own
	return uuid.UUID(sum[:16])
}

func (d *Driver) domainOf(id string) golibvirt.Domain {
	return golibvirt.Domain{Name: domainName(id), UUID: golibvirt.UUID(d.uuidOf(id)), ID: -1}
}

// GuardTarget implements runtime.Guarded: the QEMU of a domain is known by the
// domain's UUID.
func (d *Driver) GuardTarget(id string, _ bool) string {
	return guard.MachineTarget(d.uuidOf(id).String())
}

// domainName is for people who look at `virsh list`.
func domainName(id string) string { return "skerry-" + id }

// macOf a network card is made from the instance and stays the same: locally
// administered, with QEMU's own prefix.
func (d *Driver) macOf(id string, card int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", d.siteName(), id, card))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", sum[0], sum[1], sum[2])
}
