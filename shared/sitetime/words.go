package sitetime

import (
	"fmt"
	"time"
)

// Tolerated is how far a clock may be off before anybody is bothered with it.
const Tolerated = 2 * time.Minute

// About is a length of time for people, without its sign. It is coarse: what is
// written with it does not change with every tick.
func About(d time.Duration) string {
	const day = 24 * time.Hour
	d = d.Abs()
	switch {
	case d >= 2*365*day:
		return fmt.Sprintf("about %d years", d/(365*day))
	case d >= 2*day:
		return fmt.Sprintf("about %d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("about %d hours", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("about %d minutes", d/time.Minute)
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

// Off says how far a clock is off.
func Off(d time.Duration) string {
	if d < 0 {
		return About(d) + " behind"
	}
	return About(d) + " ahead"
}
