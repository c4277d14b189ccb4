package whatif

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// maxMachines that one question adds.
const maxMachines = 1000

// Ask answers one question about a site, in which apply, nil for nothing, stands
// for the resources of the question as they would enter the log. It refuses a
// question that names what is not there, and a manifest that the site would
// refuse, with the same error.
func Ask(store *state.Store, question *skerryv1.WhatIfRequest, apply *sitev1.ApplyResources) (*skerryv1.WhatIfResponse, error) {
	before := store.View()
	lost, err := losses(before, question)
	if err != nil {
		return nil, err
	}
	w := newWorld(store.Fork(), survivor(before, lost))
	answer := &skerryv1.WhatIfResponse{Voters: uint32(len(before.Voters()))}
	for _, voter := range before.Voters() {
		if voter.GetState() == skerryv1.NodeState_NODE_STATE_READY && !slices.Contains(lost, voter.GetName()) {
			answer.VotersLeft++
		}
	}
	answer.Quorum = 2*answer.GetVotersLeft() > answer.GetVoters()
	if err := w.add(question.GetAdd()); err != nil {
		return nil, err
	}
	if answer.Applied, err = w.declare(apply); err != nil {
		return nil, err
	}
	for _, node := range lost {
		w.apply(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{
			Node: node, State: skerryv1.NodeState_NODE_STATE_LOST, Reason: "as asked",
		}}})
	}
	if err := w.leave(question.GetDrainNodes(), skerryv1.Duty_DUTY_DRAINED); err != nil {
		return nil, err
	}
	if err := w.leave(question.GetMaintainNodes(), skerryv1.Duty_DUTY_MAINTENANCE); err != nil {
		return nil, err
	}
	answer.Settled = true
	if answer.GetQuorum() {
		answer.Settled = w.settle()
	}
	compare(answer, before, w.store.View(), lost, slices.Concat(question.GetDrainNodes(), question.GetMaintainNodes()))
	return answer, nil
}

// leave lets everything leave some nodes, in all the time that it needs.
func (w *world) leave(nodes []string, until skerryv1.Duty) error {
	for _, node := range nodes {
		outcome := w.apply(&sitev1.Entry{Change: &sitev1.Entry_ChangeDuty{ChangeDuty: &sitev1.ChangeDuty{Node: node, Duty: until}}})
		if err := state.Refusal(outcome); err != nil {
			return err
		}
	}
	return nil
}

// losses are the names of all nodes that are to be lost, sorted.
func losses(view *state.View, question *skerryv1.WhatIfRequest) ([]string, error) {
	var lost []string
	for _, name := range question.GetLoseNodes() {
		node := view.Node(name)
		if node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			return nil, problem.New(problem.NotFound, "Node/"+name, "there is no such node").
				WithField("loseNodes").WithHint("skerry node list shows them; lose a zone with zone=NAME")
		}
		lost = append(lost, name)
	}
	for _, zone := range question.GetLoseZones() {
		in := nodesIn(view, zone)
		if len(in) == 0 {
			return nil, problem.New(problem.NotFound, "zone "+zone, "no node is in it").
				WithField("loseZones").WithHint("skerry node list shows the zones")
		}
		lost = append(lost, in...)
	}
	slices.Sort(lost)
	return slices.Compact(lost), nil
}

func nodesIn(view *state.View, zone string) []string {
	var names []string
	for _, node := range view.Nodes() {
		if node.GetZone() == zone && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
			names = append(names, node.GetName())
		}
	}
	return names
}

// survivor is a voter that could coordinate then; any node if there is none.
func survivor(view *state.View, lost []string) string {
	for _, voter := range view.Voters() {
		if !slices.Contains(lost, voter.GetName()) {
			return voter.GetName()
		}
	}
	return ""
}

// add machines by the way that every machine takes: a token, and a join.
func (w *world) add(groups []*skerryv1.Machines) error {
	number := 0
	for _, machines := range groups {
		if machines.GetCount() == 0 || number+int(machines.GetCount()) > maxMachines {
			return problem.New(problem.Invalid, "", "1 to %d machines can be added, not %d", maxMachines, number+int(machines.GetCount())).WithField("add.count")
		}
		cpu, err := manifest.CPU(machines.GetCpu())
		if err != nil {
			return problem.New(problem.Invalid, "", "%w", err).WithField("add.cpu")
		}
		memory, err := manifest.Memory(machines.GetMemory())
		if err != nil {
			return problem.New(problem.Invalid, "", "%w", err).WithField("add.memory")
		}
		for range machines.GetCount() {
			number++
			if err := w.join(w.freeName(number), machines, &skerryv1.Capacity{CpuMilli: cpu, MemoryBytes: memory}); err != nil {
				return err
			}
		}
	}
	return nil
}

// freeName of a machine that is not there yet.
func (w *world) freeName(number int) string {
	name := fmt.Sprintf("new-%d", number)
	for w.store.View().Node(name) != nil {
		name += "-new"
	}
	return name
}

func (w *world) join(name string, like *skerryv1.Machines, capacity *skerryv1.Capacity) error {
	hash := sha256.Sum256([]byte("whatif " + name))
	for _, entry := range []*sitev1.Entry{
		{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token: &skerryv1.Token{Id: name, Role: "node", Name: name,
				Expires: timestamppb.New(w.store.View().Time().AsTime().Add(time.Hour))},
			SecretHash: hash[:], Zone: like.GetZone(), Labels: like.GetLabels(),
		}}},
		{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
			SecretHash: hash[:], KeyFingerprint: hash[:], Node: &skerryv1.Node{Name: name, Capacity: capacity},
		}}},
	} {
		if err := state.Refusal(w.apply(entry)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) declare(change *sitev1.ApplyResources) ([]*skerryv1.AppliedResource, error) {
	if change == nil {
		return nil, nil
	}
	outcome := w.apply(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: change}})
	return outcome.GetApplied(), state.Refusal(outcome)
}
