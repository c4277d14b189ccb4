package libvirt

import (
	"context"
	"errors"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/shared/problem"
)

// problem turns what libvirt answered into a problem with the subject. what is a
// clause that says what could not be done.
func (d *Driver) problem(subject, what string, err error) error {
	var known *problem.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &problem.Error{Kind: problem.Timeout, Subject: subject, Message: what + ": libvirt did not answer in time", Err: err}
	case errors.Is(err, golibvirt.ErrInterrupted):
		return problem.New(problem.Unavailable, subject, "%s: the connection to libvirt at %s was lost", what, d.Address).
			WithHint("is it running? systemctl status libvirtd")
	case strings.Contains(err.Error(), "o space left on device"):
		return problem.New(problem.Exhausted, subject, "%s: the disk is full", what).WithHint("make room below %s: df -h", d.Dir)
	case strings.Contains(err.Error(), "annot get interface MTU"), strings.Contains(err.Error(), "o such device") && strings.Contains(err.Error(), "bridge"):
		return problem.New(problem.Conflict, subject, "%s: a bridge that it is to be connected to is not on this node: %s", what, plain(err)).
			WithHint("make the bridge, or change vm.networks")
	case strings.Contains(err.Error(), "annot allocate memory"), strings.Contains(err.Error(), "annot set up guest memory"):
		return problem.New(problem.Exhausted, subject, "%s: the node has not that much memory: %s", what, plain(err))
	default:
		return problem.New(problem.Internal, subject, "%s: %s", what, plain(err))
	}
}

// plain is what libvirt said, in one line.
func plain(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// absent: libvirt knows no such domain.
func absent(err error) bool { return golibvirt.IsNotFound(err) }

// is tells whether libvirt answered with this number.
func is(err error, number golibvirt.ErrorNumber) bool {
	var answer golibvirt.Error
	return errors.As(err, &answer) && answer.Code == uint32(number)
}
