package ledger

import (
	"testing"
	"time"

	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

func TestTheNewestStampIsKept(t *testing.T) {
	files, dir := env.NewSystem().FS, t.TempDir()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name       string
		give, want sitetime.Stamp
	}{
		{"the first", sitetime.Stamp{Time: noon, Reference: noon}, sitetime.Stamp{Time: noon, Reference: noon}},
		{"an older one", sitetime.Stamp{Time: noon.Add(-time.Hour), Reference: noon}, sitetime.Stamp{Time: noon, Reference: noon}},
		{"an older one of the next era", sitetime.Stamp{Time: noon.Add(-time.Hour), Reference: noon, Era: 1}, sitetime.Stamp{Time: noon.Add(-time.Hour), Reference: noon, Era: 1}},
		{"a newer one of the era before", sitetime.Stamp{Time: noon, Reference: noon}, sitetime.Stamp{Time: noon.Add(-time.Hour), Reference: noon, Era: 1}},
	} {
		l, err := Open(files, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.KeepTime(c.give); err != nil {
			t.Fatal(err)
		}
		again, err := Open(files, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Time(); !got.Time.Equal(c.want.Time) || got.Era != c.want.Era {
			t.Errorf("%s: after a restart it is %v, want %v", c.name, got, c.want)
		}
	}
}
