package containerd

import (
	"context"
	"errors"
	"strings"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"skerry.dev/shared/problem"
)

// problem turns what containerd answered into a problem with the subject. what
// is a clause that says what could not be done.
func (d *Driver) problem(subject, what string, err error) error {
	var known *problem.Error
	text := cleanText(err)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errdefs.IsCanceled(err), errdefs.IsDeadlineExceeded(err), status.Code(err) == codes.DeadlineExceeded,
		strings.HasSuffix(text, context.DeadlineExceeded.Error()): // as shims say it
		return &problem.Error{Kind: problem.Timeout, Subject: subject, Message: what + ": containerd did not answer in time", Err: err}
	case errdefs.IsUnavailable(err), status.Code(err) == codes.Unavailable:
		return &problem.Error{
			Kind: problem.Unavailable, Subject: subject, Err: quiet{err},
			Message: "containerd does not answer at " + d.Address + ": " + text,
			Hint:    "is it running? systemctl status containerd",
		}
	case strings.Contains(text, "no space left on device"):
		return &problem.Error{
			Kind: problem.Exhausted, Subject: subject, Err: quiet{err},
			Message: what + ": " + text, Hint: "make room on the disk that holds containerd's state: df -h",
		}
	default:
		return &problem.Error{Kind: problem.Internal, Subject: subject, Err: quiet{err}, Message: what + ": " + text}
	}
}

// quiet keeps a cause for errors.Is whose text has been told already.
type quiet struct{ error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.error }

// cleanText drops the layers of transport that say nothing to a person.
func cleanText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if _, after, found := strings.Cut(text, "rror while dialing: "); found {
		text = after
	} else if _, after, found := strings.Cut(text, "desc = "); found {
		text = after
	}
	text = strings.Trim(strings.TrimSpace(text), `"`)
	for _, tail := range []string{": unknown", ": unavailable", ": not found"} {
		text = strings.TrimSuffix(text, tail)
	}
	return text
}
