package manifest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Bounds of one placement's CPU, in thousandths of a core.
const maxCPUMilli = 1024_000

var cpuPattern = regexp.MustCompile(`^([0-9]{1,7})(?:(m)|\.([0-9]{1,9}))?$`)

// CPU reads an amount of CPU, `250m`, `0.25` or `2`, as thousandths of a core,
// 1 to 1,024,000.
func CPU(text string) (int64, error) { return cpu(text, maxCPUMilli) }

// QuotaCPU reads the sum of amounts of CPU: up to a thousand times more.
func QuotaCPU(text string) (int64, error) { return cpu(text, 1000*maxCPUMilli) }

func cpu(text string, limit int64) (int64, error) {
	parts := cpuPattern.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is not an amount of CPU such as 250m, 0.5 or 2", shorten(text))
	}
	digits := parts[1]
	if parts[2] == "" {
		fraction := strings.TrimRight(parts[3], "0")
		if len(fraction) > 3 {
			return 0, fmt.Errorf("%q is finer than 1m", text)
		}
		digits += (fraction + "000")[:3]
	}
	milli, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || milli < 1 || milli > limit {
		return 0, fmt.Errorf("%q is not between 1m and %d", text, limit/1000)
	}
	return milli, nil
}

var memoryPattern = regexp.MustCompile(`^([0-9]{1,18})([kMGT]|[KMGT]i)?$`)

var memoryUnits = map[string]int64{
	"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}

// Memory reads an amount of memory, `64Mi`, `1G`, in bytes.
func Memory(text string) (int64, error) {
	parts := memoryPattern.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is not an amount of memory such as 64Mi, 512M or 2Gi", shorten(text))
	}
	unit := memoryUnits[parts[2]]
	count, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || count > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is more memory than can be counted", text)
	}
	return count * unit, nil
}

// Duration reads a length of time, `500ms`, `10s`, `1m30s`; never negative.
func Duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a length of time such as 500ms, 10s or 1m30s", shorten(text))
	}
	return d, nil
}
