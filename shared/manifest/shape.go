package manifest

import "strings"

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
	alnum  = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits
)

// shape of a word: the bytes that it may begin with, hold and end with, and how
// many it may have. Every write is held against several; as regular expressions
// they were what its validation cost.
type shape struct {
	first, inner, last alphabet
	limit              int
}

// alphabet tells which bytes are in it.
type alphabet [256]bool

func alphabetOf(letters string) alphabet {
	var a alphabet
	for _, letter := range []byte(letters) {
		a[letter] = true
	}
	return a
}

func shapeOf(first, inner, last string, limit int) *shape {
	return &shape{alphabetOf(first), alphabetOf(inner), alphabetOf(last), limit}
}

// fits tells whether a text has the shape. No text is no word.
func (s *shape) fits(text string) bool {
	if text == "" || len(text) > s.limit || !s.first[text[0]] {
		return false
	}
	for i := 1; i < len(text)-1; i++ {
		if !s.inner[text[i]] {
			return false
		}
	}
	return len(text) == 1 || s.last[text[len(text)-1]]
}

// leadingDigits splits a text after the digits that it begins with.
func leadingDigits(text string) (number, rest string) {
	rest = strings.TrimLeft(text, digits)
	return text[:len(text)-len(rest)], rest
}
