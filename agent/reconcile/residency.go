package reconcile

import (
	"fmt"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Locate tells where this node is: its own record, as its orders have it.
func (c *Core) Locate(node *skerryv1.Node) { c.node = node }

// outside says which condition of its residency a placement does not meet here;
// empty when it may run. The scheduler has checked the same: this is the second
// lock on that door. A node that does not know where it is runs nothing that
// must be kept anywhere.
func (c *Core) outside(p *skerryv1.Placement) string {
	for _, r := range p.GetSpec().GetPlace().GetKeepIn() {
		value, has := manifest.Label(c.node, r.GetLabel())
		switch {
		case c.node != nil && manifest.Accepts(r, value, has):
		case c.node != nil && has:
			return fmt.Sprintf("it must be kept where label %s is %s, and here it is %s: this node does not start it",
				r.GetLabel(), manifest.Condition(r), value)
		default:
			return fmt.Sprintf("it must be kept where label %s is %s, and this node has no such label: it does not start it",
				r.GetLabel(), manifest.Condition(r))
		}
	}
	return ""
}

// refuse to start what must not run here. What runs already goes on.
func (t *task) refuse() {
	t.status.Phase = skerryv1.Phase_PHASE_FAILED
	t.status.Message = shorten(t.outside)
	t.refused = t.status.GetMessage()
}

// Refusal is one placement that was not started here.
type Refusal struct{ Project, Name, Why string }

// Refused are the placements that were refused since the last call, each once for
// each reason.
func (c *Core) Refused() []Refusal {
	var refused []Refusal
	for _, id := range c.ids {
		t := c.tasks[id]
		if t.refused == t.told {
			continue
		}
		if t.told = t.refused; t.told != "" {
			refused = append(refused, Refusal{Project: t.desired.GetProject(), Name: t.desired.GetName(), Why: t.told})
		}
	}
	return refused
}
