package problem

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Exit codes of the command line, documented in docs/cli.md.
var exitCodes = map[Kind]int{
	Internal:        1,
	Invalid:         2,
	NotFound:        3,
	Conflict:        4,
	Exhausted:       5,
	Forbidden:       6,
	Unauthenticated: 6,
	Unavailable:     7,
	Timeout:         8,
}

var connectCodes = map[Kind]connect.Code{
	Internal:        connect.CodeInternal,
	Invalid:         connect.CodeInvalidArgument,
	NotFound:        connect.CodeNotFound,
	Conflict:        connect.CodeFailedPrecondition,
	Exhausted:       connect.CodeResourceExhausted,
	Forbidden:       connect.CodePermissionDenied,
	Unauthenticated: connect.CodeUnauthenticated,
	Unavailable:     connect.CodeUnavailable,
	Timeout:         connect.CodeDeadlineExceeded,
}

// ExitCode of the command line for err: 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	return exitCodes[KindOf(err)]
}

// ToConnect turns err into the API's error, with an ErrorDetail.
func ToConnect(err error) *connect.Error {
	var already *connect.Error
	if errors.As(err, &already) {
		return already
	}
	var p *Error
	if !errors.As(err, &p) {
		kind := Internal
		if errors.Is(err, context.DeadlineExceeded) {
			kind = Timeout
		}
		p = &Error{Kind: kind, Message: err.Error()}
	}
	bare := &Error{Kind: p.Kind, Message: p.Message, Err: p.Err}
	ce := connect.NewError(connectCodes[p.Kind], errors.New(bare.Error()))
	detail, derr := connect.NewErrorDetail(&skerryv1.ErrorDetail{Subject: p.Subject, Field: p.Field, Hint: p.Hint})
	if derr == nil {
		ce.AddDetail(detail)
	}
	return ce
}

// FromConnect turns an error of an API call back into a problem. Errors that
// did not come from the API, such as a refused connection, become Unavailable.
func FromConnect(err error) error {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return err
	}
	p := &Error{Kind: kindOfCode(ce.Code()), Message: ce.Message()}
	for _, d := range ce.Details() {
		value, derr := d.Value()
		if derr != nil {
			continue // a detail of a newer version; the message stands
		}
		if detail, ok := value.(*skerryv1.ErrorDetail); ok {
			p.Subject, p.Field, p.Hint = detail.GetSubject(), detail.GetField(), detail.GetHint()
		}
	}
	return p
}

func kindOfCode(code connect.Code) Kind {
	switch code {
	case connect.CodeInvalidArgument:
		return Invalid
	case connect.CodeNotFound:
		return NotFound
	case connect.CodeFailedPrecondition, connect.CodeAborted, connect.CodeAlreadyExists:
		return Conflict
	case connect.CodeResourceExhausted:
		return Exhausted
	case connect.CodePermissionDenied:
		return Forbidden
	case connect.CodeUnauthenticated:
		return Unauthenticated
	case connect.CodeUnavailable:
		return Unavailable
	case connect.CodeDeadlineExceeded, connect.CodeCanceled:
		return Timeout
	default:
		return Internal
	}
}
