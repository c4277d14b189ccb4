package manifest

import (
	"strings"
	"testing"
	"time"
)

func TestBackupsHaveDefaultsAndBounds(t *testing.T) {
	const begin = "kind: Settings\nname: site\n"
	for name, c := range map[string]struct {
		text string
		want Backups
		says string
	}{
		"nothing said":     {begin, Backups{Every: 24 * time.Hour, Keep: 14}, ""},
		"all said":         {begin + "backups: {folder: /mnt/b, every: 2d, keep: 3}\n", Backups{"/mnt/b", 48 * time.Hour, 3}, ""},
		"a relative path":  {begin + "backups: {folder: mnt/b}\n", Backups{}, "absolute path"},
		"a path with dots": {begin + "backups: {folder: /mnt/../etc}\n", Backups{}, "absolute path"},
		"too often":        {begin + "backups: {folder: /b, every: 1s}\n", Backups{}, "between"},
		"too many":         {begin + "backups: {folder: /b, keep: 1001}\n", Backups{}, "between"},
	} {
		t.Run(name, func(t *testing.T) {
			resources, err := Parse("settings.yaml", []byte(c.text))
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("it gave %v, want %q", err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := BackupsOf(resources[0].GetSettings()); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
