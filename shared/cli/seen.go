package cli

import "bytes"

const (
	// maxSeen bounds how much of what was printed is remembered, in bytes.
	maxSeen = 64 << 10
	// maxMissed is how many lines may come while a stream is lost without one
	// being missed, when all that was printed is remembered.
	maxMissed = 1000
)

// seen remembers the end of a log as it was printed. A log has no positions to
// go on from: a stream that is taken up again begins with lines that were
// printed before, and seen tells where the new ones begin.
type seen struct {
	// whole: text reaches back to the beginning of the log.
	whole bool
	// text was printed last; it begins where a line begins.
	text []byte
	// held came after the stream was taken up again. While overlapping, it is
	// part of text.
	held        []byte
	overlapping bool
}

// again is called before a stream begins. It returns how many of the last lines
// to ask for, 0 when none was printed yet. They must not begin before text: more
// than text has are there only when it is the whole log.
func (s *seen) again() uint32 {
	s.held, s.overlapping = nil, len(s.text) > 0
	if len(s.text) == 0 {
		return 0
	}
	lines := bytes.Count(s.text, []byte("\n"))
	if s.text[len(s.text)-1] != '\n' {
		lines++
	}
	if s.whole {
		lines += maxMissed
	}
	return uint32(lines) // maxSeen bounds it
}

// next takes what came and returns the part of it to print, and whether lines
// may be missing before that part.
func (s *seen) next(data []byte) (fresh []byte, gap bool) {
	if !s.overlapping {
		s.remember(data)
		return data, false
	}
	s.held = append(s.held, data...)
	for from := s.text; len(from) > 0; from = afterLine(from) {
		if bytes.HasPrefix(from, s.held) {
			return nil, false // nothing new yet
		}
		if bytes.HasPrefix(s.held, from) {
			s.overlapping = false
			fresh = s.held[len(from):]
			s.remember(fresh)
			return fresh, false
		}
	}
	s.overlapping, s.whole, s.text = false, false, nil
	s.remember(s.held)
	return s.held, true
}

func (s *seen) remember(data []byte) {
	s.text = append(s.text, data...)
	if len(s.text) > maxSeen {
		s.whole = false
		s.text = bytes.Clone(afterLine(s.text[len(s.text)-maxSeen:]))
	}
}

// afterLine is what follows the first line.
func afterLine(text []byte) []byte {
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	return rest
}
