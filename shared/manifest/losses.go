package manifest

import (
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Bounds of what settings say about losses.
const (
	minLost    = 2
	maxLost    = 1000
	maxPercent = 99
	minWindow  = time.Second
	maxLossFor = time.Hour
)

// Losses is how a site takes the loss of nodes.
type Losses struct {
	// Nodes that must be lost within the window, and more than Part of each Whole
	// of the site.
	Nodes, Part, Whole int
	Window, Wait       time.Duration
}

// LossesOf settings; what is missing or out of bounds is as by default.
func LossesOf(s *skerryv1.Settings) Losses {
	given := s.GetLosses()
	l := Losses{Nodes: minLost, Part: 1, Whole: 3, Window: 10 * time.Second, Wait: time.Minute}
	if n := given.GetNodes(); n >= minLost && n <= maxLost {
		l.Nodes = int(n)
	}
	if p := given.GetPercent(); p >= 1 && p <= maxPercent {
		l.Part, l.Whole = int(p), 100
	}
	if d, err := Duration(given.GetWindow()); err == nil && d >= minWindow && d <= maxLossFor {
		l.Window = d
	}
	if d, err := Duration(given.GetWait()); err == nil && d <= maxLossFor {
		l.Wait = d
	}
	return l
}

func (v *validator) losses(l *skerryv1.Losses) {
	if l.GetNodes() != 0 {
		v.between("losses.nodes", l.GetNodes(), minLost, maxLost)
	}
	if l.GetPercent() != 0 {
		v.between("losses.percent", l.GetPercent(), 1, maxPercent)
	}
	if l.GetWindow() != "" {
		v.duration("losses.window", l.GetWindow(), minWindow, maxLossFor)
	}
	if l.GetWait() != "" {
		v.duration("losses.wait", l.GetWait(), 0, maxLossFor)
	}
}
