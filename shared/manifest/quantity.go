package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bounds of one placement's CPU, in thousandths of a core.
const maxCPUMilli = 1024_000

// CPU reads an amount of CPU, `250m`, `0.25` or `2`, as thousandths of a core,
// 1 to 1,024,000.
func CPU(text string) (int64, error) { return cpu(text, maxCPUMilli) }

// QuotaCPU reads the sum of amounts of CPU: up to a thousand times more.
func QuotaCPU(text string) (int64, error) { return cpu(text, 1000*maxCPUMilli) }

func cpu(text string, limit int64) (int64, error) {
	number, rest, ok := splitCPU(text)
	if !ok {
		return 0, fmt.Errorf("%q is not an amount of CPU such as 250m, 0.5 or 2", shorten(text))
	}
	if rest != "m" {
		fraction := strings.TrimRight(strings.TrimPrefix(rest, "."), "0")
		if len(fraction) > 3 {
			return 0, fmt.Errorf("%q is finer than 1m", text)
		}
		number += (fraction + "000")[:3]
	}
	milli, err := strconv.ParseInt(number, 10, 64)
	if err != nil || milli < 1 || milli > limit {
		return 0, fmt.Errorf("%q is not between 1m and %d", text, limit/1000)
	}
	return milli, nil
}

// splitCPU into up to seven digits and what follows: nothing, m, or a point and
// up to nine digits.
func splitCPU(text string) (number, rest string, ok bool) {
	number, rest = leadingDigits(text)
	if number == "" || len(number) > 7 {
		return "", "", false
	}
	if rest == "" || rest == "m" {
		return number, rest, true
	}
	fraction, left := leadingDigits(rest[1:])
	return number, rest, rest[0] == '.' && left == "" && fraction != "" && len(fraction) <= 9
}

var memoryUnits = map[string]int64{
	"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}

// Memory reads an amount of memory, `64Mi`, `1G`, in bytes.
func Memory(text string) (int64, error) {
	number, unit, ok := splitMemory(text)
	if !ok {
		return 0, fmt.Errorf("%q is not an amount of memory such as 64Mi, 512M or 2Gi", shorten(text))
	}
	count, err := strconv.ParseInt(number, 10, 64)
	if err != nil || count > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is more memory than can be counted", text)
	}
	return count * unit, nil
}

// splitMemory into up to 18 digits and a unit.
func splitMemory(text string) (number string, unit int64, ok bool) {
	number, rest := leadingDigits(text)
	unit, ok = memoryUnits[rest]
	return number, unit, ok && number != "" && len(number) <= 18
}

// Duration reads a length of time, `500ms`, `10s`, `1m30s`; never negative.
func Duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a length of time such as 500ms, 10s or 1m30s", shorten(text))
	}
	return d, nil
}
