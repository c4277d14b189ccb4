package guard

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"skerry.dev/shared/problem"
)

// The protocol: one word of a request and one of an answer in a packet each, over
// a Unix socket of packets that only root may use.
//
//	hello                            ok VERSION RUN
//	arm ID TARGET UNTIL LEASE        ok KILL
//	anew ID TARGET UNTIL LEASE       ok KILL
//	drop ID                          ok
//	thaw ID                          ok
//	list N                           ok ID TARGET UNTIL KILL ENDED, or end
//	end                              ok, and the guard ends
//
// Times are nanoseconds of CLOCK_BOOTTIME. ENDED is true or false, or ran: it is
// true, and something of it was found. An answer that begins with `no` says why not.
const (
	// Version of the protocol; an agent replaces a guard of another one.
	version = "3"
	// maxPacket in bytes, and maxWord in one.
	maxPacket = 1024
	maxWord   = 400
	// SocketName of the guard in the agent's run directory.
	SocketName = "guard.sock"
	lockName   = "guard.lock"
	stateName  = "guard.state"
)

// checkWord refuses what would not survive the way.
func checkWord(word string) error {
	if word == "" || len(word) > maxWord || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return problem.New(problem.Invalid, "guard", "%q cannot be guarded", word[:min(len(word), maxWord)])
	}
	return nil
}

func number(text string) (time.Duration, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return time.Duration(n), err
}

// numbers reads as many as there are places; false when there are others.
func numbers(words []string, into ...*time.Duration) bool {
	if len(words) != len(into) {
		return false
	}
	for i, word := range words {
		n, err := number(word)
		if err != nil {
			return false
		}
		*into[i] = n
	}
	return true
}

// text of an entry, as list tells it and the state file keeps it.
func (e *Entry) text() string {
	ended := strconv.FormatBool(e.Ended)
	if e.Ended && e.Ran {
		ended = endedAndRan
	}
	return fmt.Sprintf("%s %s %d %d %s", e.ID, e.Target, e.Until, e.Kill, ended)
}

// endedAndRan is no word to guards before version 3: they end it once more.
const endedAndRan = "ran"

func parseEntry(text string) (Entry, bool) {
	words := strings.Fields(text)
	if len(words) != 5 || checkWord(words[0]) != nil || checkWord(words[1]) != nil {
		return Entry{}, false
	}
	e := Entry{ID: words[0], Target: words[1], Ended: words[4] == "true" || words[4] == endedAndRan, Ran: words[4] == endedAndRan}
	return e, numbers(words[2:4], &e.Until, &e.Kill)
}

// answer a request. The second value is set when the guard is to end, the third
// when what it holds has changed.
func (c *Core) answer(request, run string, now time.Duration) (answer string, end, changed bool) {
	words := strings.Fields(request)
	if len(words) == 0 {
		return "no word", false, false
	}
	var until, lease, index time.Duration
	switch args := words[1:]; {
	case words[0] == "hello" && len(args) == 0:
		return "ok " + version + " " + run, false, false
	case (words[0] == "arm" || words[0] == "anew") && len(args) == 4 && numbers(args[2:], &until, &lease) && checkWord(args[0]) == nil && checkWord(args[1]) == nil:
		arm := c.Arm
		if words[0] == "anew" {
			arm = c.Anew
		}
		kill, err := arm(args[0], args[1], until, lease, now)
		if err != nil {
			return "no " + err.Error(), false, false
		}
		return fmt.Sprintf("ok %d", kill), false, true
	case words[0] == "drop" && len(args) == 1:
		c.Drop(args[0])
		return "ok", false, true
	case words[0] == "thaw" && len(args) == 1:
		c.Thaw(args[0])
		return "ok", false, false
	case words[0] == "list" && numbers(args, &index):
		if int(index) >= len(c.entries) {
			return "end", false, false
		}
		return "ok " + c.entries[index].text(), false, false
	case words[0] == "end" && len(args) == 0:
		return "ok", true, false
	default:
		return "no such request", false, false
	}
}
