package state

import (
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	// maxRevisions of one workload are remembered, and of these as many as
	// maxRevisionBytes hold. The newest, the last good one and the one that served
	// last always are.
	maxRevisions     = 10
	maxRevisionBytes = 256 << 10
)

// revisions are the last templates of each workload. They are no part of the
// workload's record, which every new placement changes.
var revisions = table[*sitev1.RevisionRecord]{
	name:    "revisions",
	key:     func(r *sitev1.RevisionRecord) string { return key(r.GetProject(), r.GetWorkload()) },
	ordinal: revisionsOrdinal,
}

// SameTemplate tells whether placements of both run the same.
func SameTemplate(a, b *skerryv1.Workload) bool {
	return proto.Equal(a.GetContainer(), b.GetContainer()) && proto.Equal(a.GetHealth(), b.GetHealth()) &&
		proto.Equal(a.GetVm(), b.GetVm()) &&
		a.GetIdentity() == b.GetIdentity()
}

// whatRuns is what placements of a workload run.
func whatRuns(w *skerryv1.Workload) *skerryv1.Workload {
	return &skerryv1.Workload{Container: w.GetContainer(), Vm: w.GetVm(), Health: w.GetHealth(), Identity: w.GetIdentity()}
}

// withTemplate is a workload that runs the template of another revision.
func withTemplate(w, template *skerryv1.Workload) *skerryv1.Workload {
	next := shallow(w)
	next.Container, next.Vm = template.GetContainer(), template.GetVm()
	next.Health, next.Identity = template.GetHealth(), template.GetIdentity()
	return next
}

// noteRevision remembers the template of a workload that was created or
// changed.
func (x *tx) noteRevision(w *skerryv1.Workload) {
	record := revisions.get(x.rows, key(w.GetProject(), w.GetName()))
	next := &sitev1.RevisionRecord{Project: w.GetProject(), Workload: w.GetName()}
	all := record.GetRevisions()
	if len(all) > 0 {
		newest := shallow(all[len(all)-1])
		same := SameTemplate(newest.GetTemplate(), w)
		if same {
			newest.LastGeneration = w.GetGeneration()
		} else {
			x.replaced(newest, isBlueGreen(w), rolloutOf(record).Beside(w))
		}
		next.Revisions = append(append(next.Revisions, all[:len(all)-1]...), newest)
		if same {
			revisions.put(x, next)
			return
		}
	}
	began := rolling
	if manifest.IsJob(w) {
		began = good // its next attempts run it; there is nothing to roll out
	}
	next.Revisions = append(next.Revisions, &skerryv1.Revision{
		Generation: w.GetGeneration(), LastGeneration: w.GetGeneration(), At: x.time, By: x.by,
		State: began, Since: x.time, Template: whatRuns(w),
	})
	forgetOld(next)
	revisions.put(x, next)
}

// replaced by another template. Of blue and green it served unless it was beside
// the one before; when it was promoted all of it was healthy.
func (x *tx) replaced(newest *skerryv1.Revision, blueGreen, beside bool) {
	switch {
	case newest.GetState() != rolling:
	case blueGreen && newest.GetPromoted():
		x.turn(newest, good, "another one was declared while it served")
	default:
		x.turn(newest, skerryv1.RevisionState_REVISION_STATE_REPLACED, "another one was declared before it was good")
	}
	if blueGreen && !beside {
		newest.Promoted = true
	}
}

// turn a copy of a revision into another state.
func (x *tx) turn(r *skerryv1.Revision, state skerryv1.RevisionState, message string) {
	r.State, r.Since, r.Message = state, x.time, bounded(message, maxMessage)
}

// changeNewest puts a changed copy of a workload's newest revision.
func (x *tx) changeNewest(project, name string, change func(*skerryv1.Revision)) {
	record := shallow(revisions.get(x.rows, key(project, name)))
	all := record.GetRevisions()
	newest := shallow(all[len(all)-1])
	change(newest)
	record.Revisions = append(append([]*skerryv1.Revision{}, all[:len(all)-1]...), newest)
	revisions.put(x, record)
}

// forgetOld drops the oldest revisions that are too many.
func forgetOld(record *sitev1.RevisionRecord) {
	r := rolloutOf(record)
	for len(record.GetRevisions()) > 3 && (len(record.GetRevisions()) > maxRevisions || proto.Size(record) > maxRevisionBytes) {
		oldest := 0
		for is := record.GetRevisions()[oldest]; is == r.Stable || is == r.Live; is = record.GetRevisions()[oldest] {
			oldest++
		}
		record.Revisions = append(append([]*skerryv1.Revision{}, record.GetRevisions()[:oldest]...), record.GetRevisions()[oldest+1:]...)
	}
}

// revisionOf a generation; nil when it is not remembered.
func revisionOf(record *sitev1.RevisionRecord, generation uint64) *skerryv1.Revision {
	for _, r := range record.GetRevisions() {
		if r.GetGeneration() <= generation && generation <= r.GetLastGeneration() {
			return r
		}
	}
	return nil
}

// Revisions of a workload that are remembered, oldest first.
func (v *View) Revisions(project, workload string) []*skerryv1.Revision {
	return revisions.get(v.rows, key(project, workload)).GetRevisions()
}
