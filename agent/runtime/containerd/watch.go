package containerd

import (
	"context"
	"errors"
	"fmt"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/typeurl/v2"

	"skerry.dev/shared/problem"
)

// Watch sends the ID of every instance that ended or ran out of memory.
func (d *Driver) Watch(ctx context.Context, changed func(id string)) error {
	ctx, cancel := context.WithCancel(d.in(ctx))
	defer cancel() // ends the stream
	filter := func(topic string) string { return fmt.Sprintf("namespace==%q,topic==%q", d.Namespace, topic) }
	events, failed := d.client.EventService().Subscribe(ctx, filter("/tasks/exit"), filter("/tasks/oom"))
	for {
		select {
		case envelope := <-events:
			if container := about(envelope.Event); container != "" {
				changed(d.instanceOf(ctx, container))
			}
		case err := <-failed:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				err = errors.New("the stream of events ended")
			}
			if told := d.problem("", "containerd cannot be watched", err); problem.KindOf(told) != problem.Internal {
				return told
			}
			return problem.New(problem.Unavailable, "", "containerd at %s stopped telling what happens: %w", d.Address, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// about returns the container whose own process the event is about, not one
// that was executed in it.
func about(event typeurl.Any) string {
	decoded, err := typeurl.UnmarshalAny(event)
	if err != nil {
		return ""
	}
	switch e := decoded.(type) {
	case *eventsapi.TaskExit:
		if e.GetID() == e.GetContainerID() {
			return e.GetContainerID()
		}
	case *eventsapi.TaskOOM:
		return e.GetContainerID()
	}
	return ""
}

// instanceOf returns the instance's ID, which is its container's unless that
// had to be shortened.
func (d *Driver) instanceOf(ctx context.Context, container string) string {
	if record, err := d.client.ContainerService().Get(ctx, container); err == nil && record.Labels[labelInstance] != "" {
		return record.Labels[labelInstance]
	}
	return container
}
