package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
)

// age is a length of time in at most two units: 8s, 3m12s, 5h3m, 2d4h, 34d.
func age(d time.Duration) string {
	seconds := max(0, int64(d/time.Second))
	minutes, hours, days := seconds/60, seconds/3600, seconds/86400
	switch {
	case minutes == 0:
		return fmt.Sprintf("%ds", seconds)
	case hours == 0:
		return two(minutes, "m", seconds%60, "s")
	case days == 0:
		return two(hours, "h", minutes%60, "m")
	case days < 10:
		return two(days, "d", hours%24, "h")
	default:
		return fmt.Sprintf("%dd", days)
	}
}

func two(big int64, bigUnit string, small int64, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d%s", big, bigUnit)
	}
	return fmt.Sprintf("%d%s%d%s", big, bigUnit, small, smallUnit)
}

// size is a number of bytes: 512 B, 3.2 MiB.
func size(bytes int64) string {
	const units = "KMGTPE"
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	value, unit := float64(bytes)/1024, 0
	for value >= 1023.95 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// cores is an amount of CPU: 4, 0.25.
func cores(milli int64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%03d", milli/1000, milli%1000), "0"), ".")
}

// pairs is a map as k=v,k=v, sorted.
func pairs(m map[string]string) string {
	all := make([]string, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, key+"="+m[key])
	}
	return strings.Join(all, ",")
}

// oneLine makes text from elsewhere safe to print: a message of a workload must
// not move the cursor of whoever looks at it.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, text)
}

// orDash shows that a value is not there.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// plural is a count with its noun: 1 node, 2 nodes.
func plural(count int, noun string) string {
	if count == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", count, noun)
}
