package sim

import (
	"fmt"
	"io"
	"time"
)

// maxLines bounds the readable trace; the oldest lines go first.
const maxLines = 200_000

// trace is the history of one run: a hash over everything that happened, and
// readable lines for what a person wants to see.
type trace struct {
	kernel *kernel
	hash   uint64
	count  uint64
	lines  []string
	// dropped lines at the beginning.
	dropped int
}

const fnvOffset, fnvPrime = 14695981039346656037, 1099511628211

func newTrace(k *kernel) *trace { return &trace{kernel: k, hash: fnvOffset} }

// fold adds values to the hash, with the time.
func (t *trace) fold(kind byte, values ...uint64) {
	t.count++
	h := (t.hash ^ uint64(kind)) * fnvPrime
	h = (h ^ uint64(t.kernel.now)) * fnvPrime
	for _, v := range values {
		h = (h ^ v) * fnvPrime
		h ^= h >> 29
	}
	t.hash = h
}

// note adds a readable line, which counts in the hash too. node is negative
// for what concerns the whole site.
func (t *trace) note(node, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.fold('n', digest([]byte(node)), digest([]byte(text)))
	if len(t.lines) >= maxLines {
		t.lines = append([]string(nil), t.lines[maxLines/2:]...)
		t.dropped += maxLines / 2
	}
	t.lines = append(t.lines, fmt.Sprintf("%12s %-5s %s", stamp(t.kernel.now), node, text))
}

// attach adds text that does not count in the hash.
func (t *trace) attach(text string) { t.lines = append(t.lines, text) }

// write prints the readable lines.
func (t *trace) write(w io.Writer) error {
	if t.dropped > 0 {
		if _, err := fmt.Fprintf(w, "... %d lines before\n", t.dropped); err != nil {
			return err
		}
	}
	for _, line := range t.lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// stamp is a time as minutes, seconds and milliseconds: 12:03.250.
func stamp(d time.Duration) string {
	return fmt.Sprintf("%d:%06.3f", int(d.Minutes()), (d % time.Minute).Seconds())
}

// digest is FNV-1a over data.
func digest(data []byte) uint64 {
	h := uint64(fnvOffset)
	for _, b := range data {
		h = (h ^ uint64(b)) * fnvPrime
	}
	return h
}
