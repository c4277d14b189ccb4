package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"skerry.dev/shared/env"
)

const (
	// redrawEvery bounds how often a line on a terminal is drawn again,
	// lineEvery how often a line is added to a log.
	redrawEvery = 100 * time.Millisecond
	lineEvery   = 5 * time.Second
)

// progress shows how far an upload is: one line that is drawn again on a
// terminal, a line now and then elsewhere. What it cannot print it leaves out:
// the upload matters more.
type progress struct {
	out      io.Writer
	clock    env.Clock
	name     string
	total    int64
	done     int64
	started  time.Duration
	last     time.Duration
	terminal bool
}

func newProgress(out io.Writer, clock env.Clock, name string, total int64) *progress {
	now := clock.Elapsed()
	return &progress{out: out, clock: clock, name: oneLine(name), total: total, started: now, last: now, terminal: isTerminal(out)}
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func (p *progress) add(bytes int) {
	p.done += int64(bytes)
	every := lineEvery
	if p.terminal {
		every = redrawEvery
	}
	if now := p.clock.Elapsed(); now-p.last >= every {
		p.last = now
		p.draw(p.state(now))
	}
}

// reach tells how far something is that is done elsewhere.
func (p *progress) reach(done, total int64) {
	p.total = total
	p.add(int(done - p.done))
}

// waiting says that all is sent and the site is at work.
func (p *progress) waiting() {
	p.draw(fmt.Sprintf("%s: sent %s, the site checks and stores it", p.name, size(p.done)))
}

// end leaves the cursor at the start of an empty line.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func (p *progress) draw(text string) {
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintln(p.out, text)
}

func (p *progress) state(now time.Duration) string {
	percent := 100 * p.done / max(1, p.total)
	rate := float64(p.done) / max(0.001, (now-p.started).Seconds())
	left := time.Duration(float64(p.total-p.done) / max(1, rate) * float64(time.Second))
	return fmt.Sprintf("%s: %s of %s, %d%%, %s/s, %s left", p.name, size(p.done), size(p.total), percent, size(int64(rate)), age(left))
}
