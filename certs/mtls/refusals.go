package mtls

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// refusalPause is the least time between two lines about one host.
	refusalPause = 10 * time.Second
	// maxRefusalHosts are told apart; what further ones are refused counts as
	// that of one host.
	maxRefusalHosts = 256
)

// refusals writes refused connections to the log, so that whoever was refused can
// read there why, and so that a host that tries for ever does not fill it.
type refusals struct {
	logger *slog.Logger
	now    func() time.Time

	mu    sync.Mutex
	hosts map[string]*refusedHost
}

// refusedHost is what a host was refused since its last line, and when that was.
type refusedHost struct {
	told  time.Time
	since int
}

func newRefusals(logger *slog.Logger, now func() time.Time) *refusals {
	return &refusals{logger: logger, now: now, hosts: map[string]*refusedHost{}}
}

// note writes a line, or counts the refusal for the next one.
func (r *refusals) note(host string, err error) {
	if count := r.count(host); count > 0 {
		r.logger.Info("a connection was refused", "from", host, "error", err, "count", count)
	} else {
		r.logger.Debug("a connection was refused", "from", host, "error", err)
	}
}

// count of refusals that a line now speaks for; 0 for no line.
func (r *refusals) count(host string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	h := r.hosts[host]
	if h == nil && len(r.hosts) >= maxRefusalHosts {
		r.forgetQuiet(now)
		if len(r.hosts) >= maxRefusalHosts {
			host = "" // which is no host: it stands for all further ones
			h = r.hosts[host]
		}
	}
	if h == nil {
		r.hosts[host] = &refusedHost{told: now}
		return 1
	}
	h.since++
	if now.Sub(h.told) < refusalPause {
		return 0
	}
	count := h.since
	h.told, h.since = now, 0
	return count
}

// forgetQuiet forgets the hosts that were told of long enough ago. What they were
// refused since is not told.
func (r *refusals) forgetQuiet(now time.Time) {
	for host, h := range r.hosts {
		if now.Sub(h.told) >= refusalPause {
			delete(r.hosts, host)
		}
	}
}
