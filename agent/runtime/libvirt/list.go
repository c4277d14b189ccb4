package libvirt

import (
	"cmp"
	"context"
	"slices"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// listTime bounds one look at everything.
const listTime = 8 * time.Second

// seen is a domain of ours, as libvirt sees it.
type seen struct {
	state  golibvirt.DomainState
	reason int32
}

func (s *seen) active() bool {
	return s != nil && s.state != golibvirt.DomainShutoff && s.state != golibvirt.DomainNostate
}

// finished: what was received runs, or is halted as people do it.
func (s *seen) finished() bool {
	return s.state == golibvirt.DomainRunning || s.state == golibvirt.DomainBlocked
}

// List returns everything that this driver ever made and has not removed. When
// libvirt does not answer, it says of each that nobody knows how it is.
func (d *Driver) List(ctx context.Context) ([]runtime.Instance, error) {
	ids, err := d.instances()
	if err != nil {
		return nil, problem.New(problem.Internal, d.instancesDir(), "what runs cannot be listed: %w", err)
	}
	if len(ids) == 0 && !exists(d.Address) {
		return nil, nil // a node without libvirt
	}
	listCtx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	domains, err := d.domains(listCtx)
	if ctx.Err() != nil {
		return nil, d.problem("", "what runs cannot be listed", ctx.Err())
	}
	d.host.answered(d.problem("", "what runs cannot be listed", err))
	all := make([]runtime.Instance, 0, len(ids))
	for _, id := range ids {
		instance := runtime.Instance{ID: id, State: runtime.Unknown}
		if err == nil {
			instance = d.instance(id, domains[id])
		}
		all = append(all, instance)
	}
	for id := range domains { // without a directory
		if !slices.Contains(ids, id) {
			all = append(all, runtime.Instance{ID: id, State: runtime.Broken})
		}
	}
	slices.SortFunc(all, func(a, b runtime.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// domains are those of this driver, by instance.
func (d *Driver) domains(ctx context.Context) (map[string]*seen, error) {
	ours := map[string]*seen{}
	err := d.link.do(ctx, listTime, func(l *golibvirt.Libvirt) error {
		every, _, err := l.ConnectListAllDomains(1, golibvirt.ConnectListDomainsActive|golibvirt.ConnectListDomainsInactive)
		if err != nil {
			return err
		}
		for _, domain := range every {
			id, s, err := d.see(l, domain)
			if err != nil {
				return err
			}
			if s != nil {
				ours[id] = s
			}
		}
		return nil
	})
	return ours, err
}

// see looks at one domain; nil when it is not ours, or is gone.
func (d *Driver) see(l *golibvirt.Libvirt, domain golibvirt.Domain) (string, *seen, error) {
	text, err := l.DomainGetMetadata(domain, int32(golibvirt.DomainMetadataElement), golibvirt.OptString{metadataSpace}, golibvirt.DomainAffectCurrent)
	if absent(err) || is(err, golibvirt.ErrNoDomainMetadata) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	id, mine := d.ours(text)
	if !mine {
		return "", nil, nil
	}
	state, reason, err := l.DomainGetState(domain, 0)
	if absent(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	return id, &seen{golibvirt.DomainState(state), reason}, nil
}

// domain looks at the domain of one instance; nil when there is none. One with its
// UUID that is not ours is an error.
func (d *Driver) domain(ctx context.Context, id string) (*seen, error) {
	var found *seen
	err := d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) error {
		domain, err := l.DomainLookupByUUID(d.domainOf(id).UUID)
		if absent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		owner, s, err := d.see(l, domain)
		switch {
		case err != nil:
		case s == nil: // of others, or gone by now
			if _, err = l.DomainLookupByUUID(domain.UUID); err == nil {
				err = problem.New(problem.Conflict, id, "libvirt has a domain with its UUID that is not of this node's")
			} else if absent(err) {
				err = nil
			}
		case owner != id:
			err = problem.New(problem.Conflict, id, "libvirt has a domain with its UUID that is %s", owner)
		}
		found = s
		return err
	})
	return found, err
}

// one instance; nil when there is nothing of it.
func (d *Driver) one(ctx context.Context, id string) (*runtime.Instance, error) {
	s, err := d.domain(ctx, id)
	if err != nil {
		return nil, err
	}
	if s == nil && !exists(d.instanceDir(id)) {
		return nil, nil
	}
	instance := d.instance(id, s)
	return &instance, nil
}

// instance says how one is, given its domain, which may be nil.
func (d *Driver) instance(id string, s *seen) runtime.Instance {
	i := runtime.Instance{ID: id, State: runtime.Broken}
	r, err := d.read(id)
	if err != nil || r == nil || s == nil {
		return i
	}
	i.SpecHash, i.Cycle, i.Accel, i.StartedAt, i.Snapshots, i.Devices = r.SpecHash, r.Cycle, r.Accel, r.Started, d.savedOf(id), r.Devices
	switch {
	case r.Leaving:
		i.State = runtime.Leaving
	case r.Arriving && (s.finished() || r.Taken && !s.active()):
		// On the disk before anybody hears of it.
		i.State = runtime.Unknown
		if d.mark(id, (*record).arrived) == nil {
			return d.instance(id, s)
		}
	case r.Arriving && r.Taken:
		i.State = runtime.Unknown // libvirt is at it
	case r.Arriving:
		// It is removed unless whoever takes it in goes on.
	case s.active():
		i.State = runtime.Running
		// By people, or by a move whose agent ended before it noted that it hands over.
		reason := golibvirt.DomainPausedReason(s.reason)
		i.Paused = s.state == golibvirt.DomainPaused && (reason == golibvirt.DomainPausedUser || reason == golibvirt.DomainPausedMigration)
	case r.Started.IsZero():
		i.State = runtime.Prepared
	default:
		i.State = runtime.Exited
		if r.Ended.IsZero() {
			d.noteEnd(id, r, codeOf(s))
		}
		i.Exit = r.exit()
	}
	return i
}

// How a virtual machine ended, as exit codes say it.
const (
	codeOff = 0
	// codeKilled as by SIGKILL, codeCrashed as by SIGABRT.
	codeKilled  = 137
	codeCrashed = 134
)

// codeOf an end; nil when libvirt does not know, as after a power cut.
func codeOf(s *seen) *int32 {
	code := int32(0)
	switch golibvirt.DomainShutoffReason(s.reason) {
	case golibvirt.DomainShutoffShutdown:
		code = codeOff
	case golibvirt.DomainShutoffDestroyed:
		code = codeKilled
	case golibvirt.DomainShutoffCrashed, golibvirt.DomainShutoffFailed:
		code = codeCrashed
	default:
		return nil
	}
	return &code
}

// noteEnd writes down how a run ended. Failing that, it is noted at the next look.
func (d *Driver) noteEnd(id string, r *record, code *int32) {
	r.Ended, r.Code = d.Env.Clock.Now().UTC(), code
	// The record may have changed since it was read: it may be handed over by now.
	if err := d.mark(id, func(now *record) { now.Ended, now.Code = r.Ended, r.Code }); err != nil {
		d.Logger.Debug("an end was not noted", "instance", id, "error", err)
	}
}
