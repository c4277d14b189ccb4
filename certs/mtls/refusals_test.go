package mtls

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestRefusalsAreToldOncePerHostAndPause(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	r := newRefusals(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now })
	for range 5 {
		r.note("10.0.0.1", errors.New("its key was revoked"))
	}
	r.note("10.0.0.2", errors.New("of another site"))
	if lines := strings.Count(out.String(), "\n"); lines != 2 || !strings.Contains(out.String(), "its key was revoked") {
		t.Errorf("%d lines, want one for each host:\n%s", lines, out.String())
	}
	out.Reset()
	now = now.Add(refusalPause)
	r.note("10.0.0.1", errors.New("its key was revoked"))
	if !strings.Contains(out.String(), "count=5") {
		t.Errorf("the line does not count what was left out: %s", out.String())
	}
}

func TestRefusalsOfManyHostsAreBounded(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	r := newRefusals(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now })
	for n := range 10 * maxRefusalHosts {
		r.note(fmt.Sprint("host-", n), errors.New("no"))
	}
	if lines := strings.Count(out.String(), "\n"); lines > maxRefusalHosts+1 || len(r.hosts) > maxRefusalHosts+1 {
		t.Errorf("%d lines and %d hosts, at most %d", lines, len(r.hosts), maxRefusalHosts+1)
	}
	now = now.Add(refusalPause)
	r.note("host-new", errors.New("no"))
	if len(r.hosts) != 1 {
		t.Errorf("%d hosts are kept after they were quiet", len(r.hosts))
	}
}
