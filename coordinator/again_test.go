package coordinator

import (
	"testing"
	"time"

	"skerry.dev/shared/sitetime"
)

// What waits for a minute after a recovery waits from when it began: the log may have
// stood still for long before.
func TestARecoveryIsOfTheTimeWhenItBegins(t *testing.T) {
	last := sitetime.Stamp{Time: time.Unix(5000, 0), Reference: time.Unix(4000, 0), Era: 3}
	for name, test := range map[string]struct{ wall, want time.Time }{
		"half an hour later":              {time.Unix(5000+1800, 0), time.Unix(5000+1800, 0)},
		"a day later":                     {time.Unix(5000+86400, 0), last.Reference.Add(sitetime.Slack)},
		"a clock that lost its battery":   {time.Unix(0, 0), last.Time},
		"a clock that is a little behind": {time.Unix(4990, 0), last.Time},
	} {
		got := recoveredAt(last, test.wall)
		if !got.Time.Equal(test.want) || !got.Reference.Equal(last.Reference) || got.Era != last.Era {
			t.Errorf("%s: it is of %v", name, got)
		}
	}
}
