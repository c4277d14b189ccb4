package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

var (
	nameShape  = shapeOf(lower, lower+digits+"-", lower+digits, 48)
	labelShape = shapeOf(alnum, alnum+"-_./", alnum, 63)
)

const (
	maxReplicas = 10_000
	maxLabels   = 32
)

// CheckName refuses what cannot be the name of a resource.
func CheckName(name string) error {
	if !nameShape.fits(name) {
		return fmt.Errorf("%q is not a name: 1 to 48 characters, a-z, 0-9 and -, starting with a letter, not ending with -", shorten(name))
	}
	return nil
}

// CheckLabel refuses what cannot be a label: no condition could name it.
func CheckLabel(name, value string) error {
	if !labelShape.fits(name) || (value != "" && !labelShape.fits(value)) {
		return errors.New("a label is at most 63 characters: letters and digits, with - _ . / between them")
	}
	return nil
}

// Validate refuses a resource that is not right, with a *problem.Error that
// names the first wrong field and tells the others, in the order of the
// manifest reference. Defaults must have been filled in.
func Validate(resource *skerryv1.Resource) error {
	if found := check(resource); len(found) > 0 {
		return summarize(found)
	}
	return nil
}

// check returns everything that is wrong with a resource.
func check(resource *skerryv1.Resource) []*problem.Error {
	object, kind := Of(resource), KindOf(resource)
	known, ok := applicables[kind]
	if !ok {
		return []*problem.Error{errNotApplicable(kind)}
	}
	v := &validator{subject: kind + "/" + shorten(object.GetName())}
	v.envelope(object, kind, known.inProject)
	known.check(v, object)
	return v.found
}

type validator struct {
	subject string
	found   []*problem.Error
}

func (v *validator) fail(field, format string, args ...any) *problem.Error {
	p := problem.New(problem.Invalid, v.subject, format, args...).WithField(field)
	v.found = append(v.found, p)
	return p
}

// envelope checks what resources of all kinds have in common.
func (v *validator) envelope(o Object, kind string, inProject bool) {
	if o.GetKind() != kind {
		v.fail("kind", "%q is not %s", shorten(o.GetKind()), kind)
	}
	v.name("name", o.GetName())
	switch {
	case inProject:
		v.name("project", o.GetProject())
	case o.GetProject() != "":
		v.fail("project", "a resource of kind %s belongs to the site, not to a project", kind).Hint = "leave it out"
	}
	v.labels(o.GetLabels())
}

func (v *validator) workload(w *skerryv1.Workload) {
	v.form(w)
	switch {
	case w.GetContainer() != nil && w.GetVm() != nil:
		v.fail("vm", "a workload runs containers or virtual machines, not both").Hint = "make two workloads of it"
	case w.GetVm() != nil:
		v.vm(w)
	case w.GetContainer() != nil:
		v.container(w.GetContainer())
	default:
		v.fail("container", "it is missing").Hint = "say what the workload runs: container: {image: NAME}"
	}
	v.identity(w)
	if w.GetHealth() != nil {
		v.health(w.GetHealth(), w)
	}
	v.update(w)
	v.place(w)
	v.between("priority", w.GetPriority(), 0, maxPriority)
	v.minAvailable(w)
	v.partition(w)
	v.mountedVolumes(w)
	v.exclusive(w)
	v.restart(w.GetRestart())
	v.duration("stopGrace", w.GetStopGrace(), 0, 10*time.Minute)
}

func (v *validator) name(field, name string) {
	if name == "" {
		v.fail(field, "it is missing")
	} else if err := CheckName(name); err != nil {
		v.fail(field, "%w", err)
	}
}

func (v *validator) labels(labels map[string]string) {
	v.atMost("labels", len(labels), maxLabels)
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if err := CheckLabel(key, labels[key]); err != nil {
			v.fail(join("labels", key), "%w", err)
		}
	}
}

func (v *validator) label(field, name string) {
	if !labelShape.fits(name) {
		v.fail(field, "%q is not the name of a label", shorten(name))
	}
}

func (v *validator) partition(w *skerryv1.Workload) {
	p := w.GetPartition()
	if p.GetMode() == Replicate && (len(w.GetVm().GetDisks()) > 0 || w.GetVm().GetBoot().GetKernel() != "") {
		v.fail("partition.mode", "its volumes and its kernel are on one node: it stays there").Hint = "leave it out"
	}
	v.oneOf("partition.mode", p.GetMode(), Replicate, Stay, Exclusive)
	v.duration("partition.replaceAfter", p.GetReplaceAfter(), 0, 24*time.Hour)
}

func (v *validator) restart(r *skerryv1.Restart) {
	v.oneOf("restart.policy", r.GetPolicy(), "always", "on-failure", "never")
	first := v.duration("restart.backoff", r.GetBackoff(), 100*time.Millisecond, 10*time.Minute)
	limit := v.duration("restart.maxBackoff", r.GetMaxBackoff(), 100*time.Millisecond, time.Hour)
	if limit != 0 && first > limit {
		v.fail("restart.maxBackoff", "%s is shorter than the first delay, %s", r.GetMaxBackoff(), r.GetBackoff())
	}
}

func (v *validator) oneOf(field, value string, accepted ...string) {
	if !slices.Contains(accepted, value) {
		v.fail(field, "%q is none of %s", shorten(value), strings.Join(accepted, ", "))
	}
}

func (v *validator) between(field string, value, low, high uint32) {
	if value < low || value > high {
		v.fail(field, "%d is not between %d and %d", value, low, high)
	}
}

func (v *validator) atMost(field string, count, limit int) {
	if count > limit {
		v.fail(field, "%d entries, at most %d are taken", count, limit)
	}
}

// duration returns the length of time, 0 if it is not right.
func (v *validator) duration(field, text string, low, high time.Duration) time.Duration {
	d, err := Duration(text)
	switch {
	case err != nil:
		v.fail(field, "%w", err)
	case d < low || d > high:
		v.fail(field, "%s is not between %s and %s", text, brief(low), brief(high))
	default:
		return d
	}
	return 0
}

// brief is a length of time as people write it: 1h, not 1h0m0s.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
