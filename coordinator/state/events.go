package state

import (
	"fmt"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxEvents are kept; the oldest go first.
const maxEvents = 4096

// event is an event and the hash that it adds to the state's. The list only
// grows at its end and is cut at its beginning, so that a view can hold on to
// a slice of it.
type event struct {
	*skerryv1.Event
	hash uint64
}

// subject is what an event is about.
type subject struct{ kind, project, name, node string }

func (x *tx) inform(about subject, reason, format string, args ...any) {
	x.event(skerryv1.Severity_SEVERITY_INFO, about, reason, format, args...)
}

func (x *tx) warn(about subject, reason, format string, args ...any) {
	x.event(skerryv1.Severity_SEVERITY_WARNING, about, reason, format, args...)
}

func (x *tx) event(severity skerryv1.Severity, about subject, reason, format string, args ...any) {
	e := &skerryv1.Event{
		Index:    x.index,
		Sub:      uint32(len(x.events)),
		At:       x.time,
		Severity: severity,
		Kind:     about.kind,
		Name:     about.name,
		Project:  about.project,
		Node:     about.node,
		Reason:   reason,
		Message:  bounded(fmt.Sprintf(format, args...), maxMessage),
	}
	x.keepEvent(e)
}

// keepEvent adds an event and pushes out the oldest one when there are too
// many.
func (x *tx) keepEvent(e *skerryv1.Event) {
	if len(x.events) == maxEvents {
		return // one entry fills the list: what comes after is not kept
	}
	kept := event{Event: e, hash: x.hash("event", e)}
	x.events = append(x.events, kept)
	x.sum += kept.hash
	if len(x.oldest)-x.evicted+len(x.events) > maxEvents {
		x.sum -= x.oldest[x.evicted].hash
		x.evicted++
	}
}
