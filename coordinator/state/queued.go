package state

import (
	"slices"
	"strings"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// maxQueued decisions on queued changes are remembered.
	maxQueued = 256
	// longestQueued may a change wait from now: a week, and a day for clocks that are
	// ahead.
	longestQueued = 8 * 24 * time.Hour
)

// checkQueued refuses a change that waited on a node, if it was decided before, has
// waited for too long, or is about something that has changed since: who queued it
// knew another state.
func (x *tx) checkQueued(entry *sitev1.Entry) error {
	mark := entry.GetQueued()
	queued := mark.GetQueued()
	switch {
	case mark == nil || entry.GetRefuseQueued() != nil:
		return nil
	case x.queuedBefore(queued):
		return problem.New(problem.Conflict, "queued/"+bounded(queued.GetRequestId(), maxRequestID), "it was decided before")
	case later(x.time, queued.GetExpires()):
		return problem.New(problem.Conflict, "", "it waited until after %s", queued.GetExpires().AsTime().Format("2006-01-02 15:04 MST")).
			WithHint("look how things are now, and make the change again if it is still wanted")
	case mark.GetSiteEpoch() != x.siteEpoch:
		return problem.New(problem.Conflict, "site "+x.site, "it was recovered since: site epoch %d, and the change was queued in %d", x.siteEpoch, mark.GetSiteEpoch()).
			WithHint("look how things are now, and make the change again if it is still wanted")
	}
	// What the operator signed of index and time, the node in reach told.
	if mark.GetIndex() >= x.index || queued.GetExpires().AsTime().Sub(x.time.AsTime()) > longestQueued {
		return problem.New(problem.Conflict, "", "it was queued with what %s told of the site, and that cannot have been true", bounded(queued.GetNode(), maxName)).
			WithHint("look how things are now, and whether that node is still to be trusted")
	}
	for _, resource := range entry.GetApplyResources().GetResources() {
		of := manifest.Of(resource)
		if of == nil {
			continue // apply refuses it
		}
		if err := x.unchangedSince(mark.GetIndex(), of.GetKind(), of.GetProject(), of.GetName()); err != nil {
			return err
		}
	}
	if d := entry.GetDeleteResource(); d != nil {
		return x.unchangedSince(mark.GetIndex(), d.GetKind(), d.GetProject(), d.GetName())
	}
	return nil
}

// unchangedSince the index, a resource was neither changed nor made; a workload
// was not deleted either.
func (x *tx) unchangedSince(index uint64, kind, project, name string) error {
	about := kind + "/" + bounded(name, maxName)
	version, gone := uint64(0), uint64(0)
	switch kind {
	case "Workload":
		version = workloads.get(x.rows, key(project, name)).GetWorkload().GetResourceVersion()
		gone = retired.get(x.rows, key(project, name)).GetWorkload().GetResourceVersion()
	case "Volume":
		version = volumes.get(x.rows, key(project, name)).GetResourceVersion()
	case "Project":
		version = projects.get(x.rows, name).GetProject().GetResourceVersion()
	default:
		return problem.New(problem.Invalid, about, "resources of this kind cannot be queued")
	}
	if version <= index && gone <= index {
		return nil
	}
	what := "it was changed since by somebody else: its resource version is %d, and whoever queued this knew the state of %d"
	if gone > index && version == 0 {
		version, what = gone, "it was deleted since, at %d, and whoever queued this knew the state of %d"
	}
	return problem.New(problem.Conflict, about, what, version, index).
		WithHint("read it again, and make the change again if it is still wanted")
}

func (x *tx) queuedBefore(queued *skerryv1.QueuedChange) bool {
	return slices.ContainsFunc(x.queued, func(q *skerryv1.QueuedChange) bool {
		return q.GetRequestId() == queued.GetRequestId() && q.GetPrincipal() == queued.GetPrincipal()
	})
}

// refuseQueued is why a queued change did not become an entry.
func refuseQueued(change *sitev1.RefuseQueued) error {
	switch kind := problem.Kind(change.GetErrorKind()); kind {
	case problem.Invalid, problem.NotFound, problem.Conflict, problem.Exhausted, problem.Forbidden:
		return problem.New(kind, "", "%s", bounded(change.GetError(), maxMessage))
	default:
		return problem.New(problem.Invalid, "", "%s", bounded(change.GetError(), maxMessage))
	}
}

// keepQueued remembers what became of a queued change, for whoever queued it.
func (x *tx) keepQueued(entry *sitev1.Entry, outcome *sitev1.Outcome) {
	queued := entry.GetQueued().GetQueued()
	if queued == nil || x.queuedBefore(queued) {
		return
	}
	decided := shallow(queued)
	decided.Decided, decided.State = x.time, skerryv1.QueuedState_QUEUED_STATE_APPLIED
	about := x.aboutQueued(decided)
	if err := Refusal(outcome); err != nil {
		decided.State, decided.Reason = skerryv1.QueuedState_QUEUED_STATE_REFUSED, bounded(err.Error(), maxMessage)
		x.warn(about, "QueuedRefused", "%s, queued on %s by %s, was refused: %s", decided.GetVerb(), decided.GetNode(), decided.GetPrincipal(), decided.GetReason())
	} else {
		x.inform(about, "QueuedApplied", "%s, queued on %s by %s", decided.GetVerb(), decided.GetNode(), decided.GetPrincipal())
	}
	if len(x.queued) == maxQueued {
		x.sum -= x.hash("queued", x.queued[0])
		x.queued = x.queued[1:]
	}
	// The full slice expression: views hold on to what was there before.
	x.queued = append(x.queued[:len(x.queued):len(x.queued)], decided)
	x.sum += x.hash("queued", decided)
}

// aboutQueued is the first resource of a queued change.
func (x *tx) aboutQueued(queued *skerryv1.QueuedChange) subject {
	if len(queued.GetResources()) == 0 {
		return x.aboutSite()
	}
	parts := strings.Split(queued.GetResources()[0], "/")
	about := subject{kind: parts[0], name: parts[len(parts)-1], node: queued.GetNode()}
	if len(parts) == 3 {
		about.project = parts[1]
	}
	return about
}

// Queued are the last changes that had waited on a node, the oldest first.
func (v *View) Queued() []*skerryv1.QueuedChange { return v.meta.queued }

// QueuedDecision is what became of a queued change; nil when it was not decided.
func (v *View) QueuedDecision(principal, id string) *skerryv1.QueuedChange {
	for _, q := range v.meta.queued {
		if q.GetRequestId() == id && q.GetPrincipal() == principal {
			return q
		}
	}
	return nil
}
