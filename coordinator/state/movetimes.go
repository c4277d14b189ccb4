package state

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// moveTimes along with site time, when somebody sets that: what was to last a
// minute still does. Else a node would be distrusted for the years by which a
// clock was wrong, and a job that has failed once would not be tried again.
func (x *tx) moveTimes(by time.Duration) {
	for _, node := range nodes.list(x.rows) {
		x.moveNode(node, by)
	}
	for _, record := range workloads.list(x.rows) {
		if active := manifest.ActiveRuns(record.GetWorkload()); len(active) > 0 {
			w := shallow(record.GetWorkload())
			for _, run := range active {
				next := proto.CloneOf(run)
				next.Started, next.FailedAt = moved(run.GetStarted(), by), moved(run.GetFailedAt(), by)
				setRun(w, next)
			}
			x.putStatus(record, w)
		}
	}
	for _, old := range placements.list(x.rows) {
		if old.GetEnded() != nil {
			p := shallow(old)
			p.Ended = moved(old.GetEnded(), by)
			x.putPlacement(p)
		}
	}
	if x.rebalance != nil && x.rebalance.GetEnded() == nil {
		r := shallow(x.rebalance)
		r.Deadline = moved(x.rebalance.GetDeadline(), by)
		x.setRebalance(r)
	}
	if x.halt != nil {
		stop := shallow(x.halt)
		stop.Deadline = moved(x.halt.GetDeadline(), by)
		x.setStop(stop)
	}
	x.moveBackups(by)
	if x.imageKeys != nil {
		x.setImageKeys(&sitev1.ImageKeys{Keys: x.imageKeys.GetKeys(), Made: moved(x.imageKeys.GetMade(), by)})
	}
}

// moveNode: for how long it is not trusted, and how long its drain may take.
func (x *tx) moveNode(old *skerryv1.Node, by time.Duration) {
	drains := old.GetDuty().GetDuty() == skerryv1.Duty_DUTY_DRAINING
	if old.GetDistrust() == nil && !drains {
		return
	}
	node := shallow(old)
	if distrust := old.GetDistrust(); distrust != nil {
		node.Distrust = &skerryv1.Distrust{Until: moved(distrust.GetUntil(), by)}
		for _, at := range distrust.GetLost() {
			node.Distrust.Lost = append(node.Distrust.Lost, moved(at, by))
		}
	}
	if drains {
		node.Duty = shallow(old.GetDuty())
		node.Duty.Drain = shallow(old.GetDuty().GetDrain())
		node.Duty.Drain.Deadline = moved(old.GetDuty().GetDrain().GetDeadline(), by)
	}
	x.putNode(node)
}

// moved is a later or earlier time; none stays none.
func moved(at *timestamppb.Timestamp, by time.Duration) *timestamppb.Timestamp {
	if at == nil {
		return nil
	}
	return timestamppb.New(at.AsTime().Add(by))
}
