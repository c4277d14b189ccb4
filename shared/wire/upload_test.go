package wire

import (
	"errors"
	"io"
	"testing"

	"skerry.dev/shared/problem"
)

// script is a stream of messages that were sent.
type script struct {
	messages []string
	now      string
	err      error
}

func (s *script) Receive() bool {
	if len(s.messages) == 0 {
		return false
	}
	s.now, s.messages = s.messages[0], s.messages[1:]
	return true
}

func (s *script) Err() error { return s.err }

func TestAnUploadIsAsLongAsItWasAnnounced(t *testing.T) {
	for name, test := range map[string]struct {
		messages []string
		err      error
		want     problem.Kind
	}{
		"whole":                  {[]string{"abc", "", "de"}, nil, ""},
		"with an end that tells": {[]string{"abcde"}, io.EOF, ""},
		"too short":              {[]string{"abc"}, nil, problem.Invalid},
		"too long":               {[]string{"abc", "def"}, nil, problem.Invalid},
		"broken":                 {[]string{"abc"}, errors.New("the line broke"), problem.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{messages: test.messages, err: test.err}
			got, err := io.ReadAll(&Upload{Stream: s, Data: func() []byte { return []byte(s.now) }, Left: 5, About: "image"})
			switch {
			case test.want == "" && (err != nil || string(got) != "abcde"):
				t.Errorf("%q, %v", got, err)
			case test.want != "" && problem.KindOf(err) != test.want:
				t.Errorf("%v, want kind %s", err, test.want)
			}
		})
	}
}
