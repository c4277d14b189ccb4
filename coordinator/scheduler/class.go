package scheduler

import (
	"cmp"
	"fmt"
	"strconv"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// kind of placements that ask for the same.
type kind struct {
	name
	generation uint64
	// pin tells those of one workload apart that must have their own node.
	pin string
}

func kindOf(p *skerryv1.Placement) kind {
	k := kind{name: name{p.GetProject(), p.GetWorkload()}, generation: p.GetGeneration()}
	if require := p.GetSpec().GetPlace().GetRequire(); state.IsStay(p.GetSpec()) && len(require) > 0 {
		last := require[len(require)-1]
		k.pin = fmt.Sprint(len(require), last.GetLabel(), last.GetIn())
	}
	return k
}

// class is all pending placements of one kind.
type class struct {
	kind
	spec     *skerryv1.Workload
	workload *workload
	needs    state.Needs
	unclear  error
	shape    *shape
	// lastResort takes nodes that are not trusted as well; nil while all are.
	lastResort *shape
	// free is how many of them may be bound.
	free int
	// refused is the decision against all that are left.
	refused *skerryv1.Decision
	// opened is how often more nodes became possible, until it was refused.
	opened int
	// explainedBy is the last one that was decided on with verdicts of its own.
	explainedBy string
	// hopeless: making room for it was tried.
	hopeless bool
}

// shape is what decides which nodes are good for a class before its own
// placements are counted: classes of one shape share a pool.
type shape struct {
	key   string
	spec  *skerryv1.Workload
	needs state.Needs
	label string
	terms []term
	// wary shapes leave out nodes that are not trusted.
	wary bool
}

// watch prepares the class of a pending placement.
func (s *site) watch(p *skerryv1.Placement) {
	k := kindOf(p)
	if s.last != nil && s.last.kind == k || s.classes[k] != nil {
		return
	}
	c := &class{kind: k, spec: p.GetSpec(), workload: s.workloads[k.name], free: -1}
	c.needs, c.unclear = s.meter.needs(p.GetSpec())
	s.classes[k] = c
	s.last = c
	c.shape = &shape{spec: c.spec, needs: c.needs, label: spreadLabel(c.spec), terms: s.terms(c)}
	c.shape.key = c.shape.describe(c)
	if s.distrusts {
		all := *c.shape
		c.lastResort = &all
		c.shape.key += "\x00wary"
		c.shape.wary = true
	}
}

// widest shape of a class: what does not fit it fits nowhere.
func (c *class) widest() *shape { return cmp.Or(c.lastResort, c.shape) }

// reopened: the class may have been refused, and nodes have become possible since.
func (c *class) reopened() bool {
	opened := 0
	for _, t := range c.shape.terms {
		if t.opens() {
			opened += t.tally.filled
		}
	}
	before := c.opened
	c.opened = opened
	return opened > before
}

// classOf a pending placement, when all that exists has been added.
func (s *site) classOf(p *skerryv1.Placement) *class {
	k := kindOf(p)
	c := s.last
	if c.kind != k {
		c = s.classes[k]
		s.last = c
	}
	if c.free < 0 {
		c.free = 0 // deleted in the meantime
		if c.workload.Workload != nil {
			c.free = state.FreeToBind(c.workload.Workload, p, c.workload.all)
		}
	}
	return c
}

func spreadLabel(spec *skerryv1.Workload) string {
	if label := spec.GetPlace().GetSpread(); label != "" {
		return label
	}
	return "zone"
}

// describe gives equal text to classes that see nodes in the same way.
func (sh *shape) describe(c *class) string {
	text := make([]byte, 0, 128)
	for _, number := range []int64{sh.needs.CPUMilli, sh.needs.MemoryBytes, sh.needs.DiskBytes} {
		text = append(strconv.AppendInt(text, number, 36), ' ')
	}
	text = append(append(text, sh.label...), 0)
	text = append(append(text, manifest.ImageOf(sh.spec)...), 0)
	if len(sh.needs.HostPorts)+len(sh.needs.Devices) > 0 {
		text = fmt.Append(text, sh.needs.HostPorts, sh.needs.Devices)
	}
	text = append(append(text, vmKey(sh.spec)+volumeKey(sh.spec)...), 0)
	place := sh.spec.GetPlace()
	if len(place.GetRequire())+len(place.GetKeepIn())+len(place.GetPrefer())+len(place.GetTargets()) > 0 {
		text = append(text, encoded(place)...)
	}
	for _, t := range sh.terms {
		text = fmt.Append(text, c.project, 0, t.tally.of, t.tally.label, t.tally.all, t.away, t.weight)
	}
	return string(text)
}
