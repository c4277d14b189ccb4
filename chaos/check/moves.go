package check

// Move of one placement, as a plan has it.
type Move struct {
	Placement, From string
	// Asked: somebody asked for it. Ends: it ends by this plan, of which ByItself
	// says that two of it must not run at once.
	Asked, Ends, ByItself bool
	// Proven is when what takes its place was last seen healthy, Base of which state
	// the plan was made.
	Proven, Base uint64
}

// Moved tells that a placement which runs well on a node in service begins to
// move, or ends because it has moved.
func Moved(m Move) *Violation {
	switch {
	case !m.Asked:
		return violated(Moves, "%s moves from %s, and nobody asked for that", m.Placement, m.From)
	case m.Ends && !m.ByItself && m.Proven < m.Base:
		return violated(Moves, "%s ends on %s, and what takes its place was last healthy at %d, before %d", m.Placement, m.From, m.Proven, m.Base)
	}
	return nil
}

// UnderWay tells which moves have begun and not come to an end, and which of them
// end before the next one begins.
func UnderWay(begun, byThemselves []string) *Violation {
	if len(byThemselves) > 0 && len(begun) > 1 {
		return violated(Moves, "%v end before what follows them begins, and %v are on their way at once", byThemselves, begun)
	}
	return nil
}

// Beside tells what of other templates there still is, or still runs, where a
// placement gets a node or starts.
func Beside(placement string, others []string) *Violation {
	if len(others) > 0 {
		return violated(OneTemplate, "%s begins while %v are there, of another template", placement, others)
	}
	return nil
}

// TakenIn tells that an apply was taken in, or changed something, that is wrong.
func TakenIn(workload, wrong string, taken, changed bool) *Violation {
	if taken || changed {
		return violated(WrongRefused, "%s is asked for with %s: taken in %v, changed %v", workload, wrong, taken, changed)
	}
	return nil
}
