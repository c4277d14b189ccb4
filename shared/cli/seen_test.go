package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSeenPrintsEachLineOnceThroughAnyLosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log bytes.Buffer
		for i := range rapid.IntRange(1, 400).Draw(t, "lines") {
			fmt.Fprintf(&log, "%d %s\n", i, strings.Repeat("x", rapid.IntRange(200, 600).Draw(t, "width")))
		}
		whole := log.Bytes()
		s := seen{whole: true}
		var printed bytes.Buffer
		for reached := 0; reached < len(whole); {
			reached = rapid.IntRange(reached, min(len(whole), reached+maxSeen/8)).Draw(t, "reached")
			for _, message := range split(t, tailOf(whole[:reached], int(s.again()))) {
				fresh, gap := s.next(message)
				if gap {
					t.Fatalf("a gap after %d bytes", printed.Len())
				}
				printed.Write(fresh)
			}
		}
		if !bytes.Equal(printed.Bytes(), whole) {
			t.Fatalf("printed %q\nwant %q", printed.Bytes(), whole)
		}
	})
}

// tailOf is the last lines of a log, all of it for 0.
func tailOf(log []byte, lines int) []byte {
	if lines == 0 {
		return log
	}
	all := bytes.SplitAfter(log, []byte("\n"))
	if len(all[len(all)-1]) == 0 {
		all = all[:len(all)-1]
	}
	return bytes.Join(all[max(0, len(all)-lines):], nil)
}

// split cuts a stream into messages.
func split(t *rapid.T, stream []byte) [][]byte {
	var messages [][]byte
	for len(stream) > 0 {
		n := rapid.IntRange(1, len(stream)).Draw(t, "message")
		messages = append(messages, stream[:n])
		stream = stream[n:]
	}
	return messages
}

func TestSeenIsBounded(t *testing.T) {
	var s seen
	for range 100 {
		s.next([]byte(strings.Repeat("x", 5000) + "\n"))
	}
	if len(s.text) > maxSeen || !bytes.HasPrefix(s.text, []byte("x")) || s.again() != 13 {
		t.Errorf("%d bytes, %d lines are remembered", len(s.text), s.again())
	}
}
