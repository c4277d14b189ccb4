package manifest

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // machines without a time zone database know them too

	"github.com/robfig/cron/v3"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxCron bytes of an expression, maxZoneName of a time zone's name.
	maxCron     = 256
	maxZoneName = 64
)

// Times are the moments at which a schedule is due.
type Times struct{ spec *cron.SpecSchedule }

// TimesOf a schedule; an error when it makes no sense or is never due.
func TimesOf(s *skerryv1.Schedule) (Times, error) {
	spec, err := ParseCron(s.GetCron())
	if err != nil {
		return Times{}, err
	}
	location, err := zoneOf(s.GetTimeZone())
	if err != nil {
		return Times{}, err
	}
	spec.Location = location
	return Times{spec}, nil
}

// Next moment after this one; zero when there is none within five years.
func (t Times) Next(after time.Time) time.Time {
	next := t.spec.Next(after)
	for t.spec.Hour&everyHour == 0 && t.again(next) {
		next = t.spec.Next(next)
	}
	if next.IsZero() {
		return time.Time{}
	}
	return next.UTC()
}

// everyHour is set in the hours of an expression that names none.
const everyHour = 1 << 63

// again: the clocks show this time for the second time, in autumn.
func (t Times) again(at time.Time) bool {
	if at.IsZero() {
		return false
	}
	local := at.In(t.spec.Location)
	_, now := local.Zone()
	_, before := local.Add(-3 * time.Hour).Zone()
	if before <= now {
		return false
	}
	first := local.Add(-time.Duration(before-now) * time.Second)
	_, then := first.Zone()
	return then == before
}

// Last moment after one time and not after another; zero when there is none.
func (t Times) Last(after, until time.Time) time.Time {
	last := time.Time{}
	for low, high := after, until; low.Before(high); {
		// Later than the middle, or no later than it: half of what is left either way.
		middle := low.Add(high.Sub(low) / 2)
		if next := t.Next(middle); !next.IsZero() && !next.After(until) {
			last, low = next, next
			continue
		}
		if high = middle; high.Sub(low) < time.Second {
			if next := t.Next(low); !next.IsZero() && !next.After(until) {
				return next
			}
			return last
		}
	}
	return last
}

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// ParseCron reads an expression, without a time zone. It refuses one that is
// never due.
func ParseCron(text string) (*cron.SpecSchedule, error) {
	switch {
	case text == "":
		return nil, errors.New("it is missing")
	case len(text) > maxCron:
		return nil, fmt.Errorf("it is longer than %d characters", maxCron)
	case strings.Contains(text, "TZ="):
		return nil, errors.New("the time zone belongs into timeZone")
	case strings.HasPrefix(text, "@every"):
		return nil, errors.New("@every is no moment of a day: write when, such as */10 * * * *")
	}
	schedule, err := cronParser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not minute, hour, day of the month, month, day of the week: %w", shorten(text), err)
	}
	spec, ok := schedule.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("%q is no moment of a day", shorten(text))
	}
	spec.Location = time.UTC
	// From a leap year on, so that the 29th of February is found.
	if spec.Next(time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("%q is never due: there is no such day", shorten(text))
	}
	return spec, nil
}

// zoneOf a name. Local is refused: it is another one on each node.
func zoneOf(name string) (*time.Location, error) {
	if len(name) > maxZoneName || name == "Local" {
		return nil, fmt.Errorf("%q is no time zone", shorten(name))
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is no time zone: write it as in Europe/Berlin", shorten(name))
	}
	return location, nil
}
