package spool

import (
	"strings"
	"testing"
)

func TestACommandIsShortenedAndOneLine(t *testing.T) {
	for want, command := range map[string][]string{
		`sh -c "echo a\nb"`: {"sh", "-c", "echo a\nb"},
		`printf ""`:         {"printf", ""},
	} {
		if got := CommandText(command); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	long := CommandText([]string{"sh", strings.Repeat("é", 100_000), strings.Repeat("\x00", 1000)})
	if len(long) > maxCommand+len("…") || !strings.HasSuffix(long, "…") {
		t.Errorf("%d bytes: %s", len(long), long)
	}
}
