// Package problem is the one form of error that reaches a user: what happened,
// to which thing, what to do. Its kind decides the API's code and the exit
// code, so that both are the same everywhere.
package problem

import (
	"errors"
	"fmt"
	"strings"
)

// Kind of a problem. Few on purpose: each one asks for another reaction.
type Kind string

// The kinds.
const (
	// Invalid: the request is wrong; repeating it cannot help.
	Invalid Kind = "invalid"
	// NotFound: the named thing does not exist.
	NotFound Kind = "not_found"
	// Conflict: the thing is not, or no longer, in the state asked for.
	Conflict Kind = "conflict"
	// Exhausted: a limit is reached.
	Exhausted Kind = "exhausted"
	// Forbidden: the caller may not do this.
	Forbidden Kind = "forbidden"
	// Unauthenticated: the caller could not be identified.
	Unauthenticated Kind = "unauthenticated"
	// Unavailable: not possible now, such as a write without quorum; retrying
	// later can help.
	Unavailable Kind = "unavailable"
	// Timeout: the time given ran out; the outcome is unknown.
	Timeout Kind = "timeout"
	// Internal: a fault of Skerry or of the machine.
	Internal Kind = "internal"
)

// Error says what happened, to which thing, and what to do.
type Error struct {
	Kind Kind
	// Subject is what it happened to: `Workload/web`, `token`, a file. May be
	// empty.
	Subject string
	// Field path that is to blame, `container.resources.cpu`. May be empty.
	Field string
	// What happened, without the subject.
	Message string
	// Hint says what to do, as a sentence without a full stop. May be empty.
	Hint string
	// Err is the cause. Its text is appended unless Message holds it already.
	Err error
}

// New returns a problem with a formatted message. A %w in format sets the
// cause.
func New(kind Kind, subject, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Subject: subject, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithField returns the problem with the field path set.
func (e *Error) WithField(path string) *Error {
	c := *e
	c.Field = path
	return &c
}

// WithHint returns the problem with the hint set.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error is one line: subject, field, message, and the hint in brackets.
func (e *Error) Error() string {
	var b strings.Builder
	for _, part := range []string{e.Subject, e.Field} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	b.WriteString(e.Message)
	if e.Err != nil && !strings.Contains(e.Message, e.Err.Error()) {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost problem in err's chain, and
// Internal for any other error.
func KindOf(err error) Kind {
	var p *Error
	if errors.As(err, &p) {
		return p.Kind
	}
	return Internal
}
