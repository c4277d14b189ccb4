package lifecycle

import (
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// maxTimes that are kept; then all are read anew.
const maxTimes = 1024

// timesCache keeps what was read out of schedules.
type timesCache map[timesKey]manifest.Times

type timesKey struct{ cron, zone string }

func (c timesCache) of(w *skerryv1.Workload) (manifest.Times, error) {
	k := timesKey{w.GetSchedule().GetCron(), w.GetSchedule().GetTimeZone()}
	if times, known := c[k]; known {
		return times, nil
	}
	times, err := manifest.TimesOf(w.GetSchedule())
	if err != nil {
		return times, err
	}
	if len(c) == maxTimes {
		clear(c)
	}
	c[k] = times
	return times, nil
}
