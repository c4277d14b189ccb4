package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// CPU reads an amount of CPU, `250m`, `0.25` or `2`, as thousandths of a core.
func CPU(text string) (int64, error) {
	number, isMilli := strings.CutSuffix(text, "m")
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) || strings.ContainsAny(number, "eExXpP_") {
		return 0, fmt.Errorf("%q is not an amount of CPU such as 250m, 0.5 or 2", text)
	}
	if !isMilli {
		value *= 1000
	}
	if value < 1 || value > 1024_000 {
		return 0, fmt.Errorf("%q is not between 1m and 1024", text)
	}
	if value != math.Trunc(value) {
		return 0, fmt.Errorf("%q is finer than 1m", text)
	}
	return int64(value), nil
}

// memoryUnits, longest suffix first.
var memoryUnits = []struct {
	suffix string
	bytes  int64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"", 1},
}

// Memory reads an amount of memory, `64Mi`, `1G`, in bytes.
func Memory(text string) (int64, error) {
	for _, unit := range memoryUnits {
		number, found := strings.CutSuffix(text, unit.suffix)
		if !found {
			continue
		}
		value, err := strconv.ParseInt(number, 10, 64)
		if err != nil || value < 0 || value > math.MaxInt64/unit.bytes {
			break
		}
		return value * unit.bytes, nil
	}
	return 0, fmt.Errorf("%q is not an amount of memory such as 64Mi, 512M or 2Gi", text)
}

// Duration reads a length of time, `500ms`, `10s`, `1m30s`.
func Duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a length of time such as 500ms, 10s or 1m30s", text)
	}
	return d, nil
}
