package manifest

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestShapesAreWhatTheirExpressionsSay(t *testing.T) {
	for expression, fits := range map[string]func(string) bool{
		`^[a-z]([-a-z0-9]{0,46}[a-z0-9])?$`:                nameShape.fits,
		`^[A-Za-z0-9]([-A-Za-z0-9_./]{0,61}[A-Za-z0-9])?$`: labelShape.fits,
		`^[A-Za-z0-9][-A-Za-z0-9._:/@+]{0,254}$`:           imageShape.fits,
		`^[a-z]([-a-z0-9]{0,13}[a-z0-9])?$`:                portNameShape.fits,
		`^[A-Za-z_][A-Za-z0-9_]{0,255}$`:                   envShape.fits,
		`^([0-9]{1,7})(?:(m)|\.([0-9]{1,9}))?$`:            func(s string) bool { _, _, ok := splitCPU(s); return ok },
		`^([0-9]{1,18})([kMGT]|[KMGT]i)?$`:                 func(s string) bool { _, _, ok := splitMemory(s); return ok },
	} {
		t.Run(expression, func(t *testing.T) {
			pattern := regexp.MustCompile(expression)
			check := func(t rapid.TB, text string) {
				if got, want := fits(text), pattern.MatchString(text); got != want {
					t.Fatalf("%q: %v, want %v", text, got, want)
				}
			}
			rapid.Check(t, func(t *rapid.T) {
				right := rapid.StringMatching(expression).Draw(t, "right")
				check(t, right)
				at := rapid.IntRange(0, len(right)).Draw(t, "at")
				check(t, right[:at]+rapid.StringOfN(rapid.RuneFrom([]rune("-_./:@+%aZ09mMik\n é")), 1, 3, -1).Draw(t, "wrong")+right[at:])
				check(t, right+strings.Repeat("a", rapid.IntRange(0, 300).Draw(t, "more")))
				check(t, right+strings.Repeat("0", rapid.IntRange(0, 30).Draw(t, "digits")))
				check(t, right[at:])
			})
			check(t, "")
		})
	}
}
