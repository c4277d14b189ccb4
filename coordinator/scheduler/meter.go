package scheduler

import (
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// meter reads what placements ask for, each template once.
type meter struct {
	seen map[*skerryv1.Workload]state.Needs
	// texts are for templates that are equal but not the same object.
	texts map[quantities]state.Needs
	// the last one: placements of a workload follow each other.
	last      *skerryv1.Workload
	lastNeeds state.Needs
}

// quantities of what has neither devices nor ports.
type quantities struct{ cpu, memory, disk string }

func newMeter() meter {
	return meter{seen: map[*skerryv1.Workload]state.Needs{}, texts: map[quantities]state.Needs{}}
}

func (m *meter) needs(w *skerryv1.Workload) (state.Needs, error) {
	if w == m.last && w != nil {
		return m.lastNeeds, nil
	}
	needs, known := m.seen[w]
	if !known {
		var err error
		if needs, err = m.read(w); err != nil {
			return state.Needs{}, err
		}
		m.seen[w] = needs
	}
	m.last, m.lastNeeds = w, needs
	return needs, nil
}

func (m *meter) read(w *skerryv1.Workload) (state.Needs, error) {
	c := w.GetContainer()
	plain := w.GetVm() == nil && len(c.GetPorts()) == 0 && len(c.GetResources().GetDevices()) == 0
	key := quantities{c.GetResources().GetCpu(), c.GetResources().GetMemory(), c.GetResources().GetDisk()}
	if needs, known := m.texts[key]; known && plain {
		return needs, nil
	}
	needs, err := state.NeedsOf(w)
	if err == nil && plain {
		m.texts[key] = needs
	}
	return needs, err
}
