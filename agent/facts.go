package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/probe"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// factsEvery is how often the facts are looked at when nothing changes.
	factsEvery = 2 * time.Second
	// factsTime bounds one look.
	factsTime = 5 * time.Second
)

// facts is what this node reports: how its placements are, and what it is.
type facts struct {
	*Agent

	mu      sync.Mutex
	current *sitev1.NodeFacts
	// overSize says which volumes take more than they have; only run uses it.
	overSize string
	changed  chan struct{}
}

func newFacts(a *Agent) *facts {
	return &facts{Agent: a, changed: make(chan struct{}), current: &sitev1.NodeFacts{
		Address: a.Config.APIAddress(), GossipAddress: a.Config.GossipAddress(), Version: a.Version,
	}}
}

// Reports implements session.Node.
func (f *facts) Reports() []*sitev1.PlacementReport {
	reports := f.supervisor.Reports()
	for _, report := range reports {
		f.addIdentity(report.GetProject(), report.GetPlacement(), report.GetStatus())
	}
	return reports
}

// Status implements localapi.Placements.
func (f *facts) Status(project, name string) *skerryv1.PlacementStatus {
	status := f.supervisor.Status(project, name)
	f.addIdentity(project, name, status)
	return status
}

// addIdentity tells until when a placement has an identity, whatever happens to
// the site.
func (f *facts) addIdentity(project, name string, status *skerryv1.PlacementStatus) {
	if svid := f.workloads.SVID(project, name); svid != nil && status != nil {
		status.Identity, status.IdentityUntil = svid.ID, timestamppb.New(svid.Leaf.NotAfter)
	}
}

// Facts implements session.Node.
func (f *facts) Facts() *sitev1.NodeFacts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// Changed implements session.Node.
func (f *facts) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// run keeps the facts true until ctx ends.
func (f *facts) run(ctx context.Context) error {
	timer := f.Env.Clock.NewTimer(factsEvery)
	defer timer.Stop()
	var lookedAt time.Duration
	for {
		supervisorChanged, workloadsChanged := f.supervisor.Changed(), f.workloads.Changed()
		f.replicas.mu.Lock()
		replicaChanged := f.replicas.changed
		f.replicas.mu.Unlock()
		_, roomChanged := f.room.trouble()
		_, namesChanged := f.names.trouble()
		volumeDeleted := f.supervisor.Deleted()
		if now := f.Env.Clock.Elapsed(); now-lookedAt >= factsEvery || lookedAt == 0 {
			f.look(ctx)
			lookedAt = now
		} else {
			f.conditions()
		}
		f.announce()
		timer.Reset(factsEvery)
		select {
		case <-supervisorChanged:
		case <-workloadsChanged:
		case <-replicaChanged:
			lookedAt = 0
		case <-volumeDeleted:
			lookedAt = 0
		case <-roomChanged:
		case <-namesChanged:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *facts) announce() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// look finds out everything anew. What cannot be found out stays as it was.
func (f *facts) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, factsTime)
	defer cancel()
	next := proto.CloneOf(f.Facts())
	if capacity, err := probe.Capacity(ctx, f.Config.StateDir, f.Config.Devices); err != nil {
		f.Logger.Warn("the machine's capacity is not known", "error", err)
	} else {
		next.Capacity = capacity
	}
	// A runtime that does not answer is a condition, told below.
	if images, err := f.Runtime.Images(ctx); err == nil {
		next.Images = nil
		for _, stored := range images {
			next.Images = append(next.Images, stored.Digest)
		}
		slices.Sort(next.Images)
		next.Images = slices.Compact(next.Images)
		next.Room = f.diskRoom(next.GetRoom(), images)
	}
	next.SurplusImages = f.pruner.Asked()
	if authority, generation := f.identity.NewestAuthority(); authority != nil {
		next.Authority, next.AuthorityGeneration = authority.Certificate().Raw, generation
	}
	if key := f.identity.NewestJwtKey(); key != nil {
		next.JwtKey = key
	}
	f.replicas.mu.Lock()
	next.AuditKey = f.replicas.auditKey
	f.replicas.mu.Unlock()
	next.RefusedIssuers = f.identity.Gate().Refused(func() {
		next.SvidIssuer, next.WorkloadIssuers = f.identity.Issuer(), f.workloads.Issuers()
	})
	if leaf := f.identity.Leaf(); leaf != nil {
		next.SvidExpires = timestamppb.New(leaf.NotAfter)
	}
	if run, err := probe.Run(); err != nil {
		f.Logger.Warn("whether the machine was switched off will not be known", "error", err)
	} else {
		next.Run = run
	}
	next.SealingKey = f.recipient.Public()
	f.machineFacts(next)
	f.mu.Lock()
	next.GossipVersion = f.current.GetGossipVersion() // it may have changed meanwhile
	f.current = next
	f.mu.Unlock()
	f.conditions()
}

// conditions says what needs attention on this node.
func (f *facts) conditions() {
	var conditions []*skerryv1.Condition
	if f.identity.Evicted() {
		conditions = append(conditions, &skerryv1.Condition{Type: evictedCondition, Message: "this node was evicted from the site " + f.identity.Site()})
	}
	if forked := f.identity.Forked(); forked != "" {
		conditions = append(conditions, &skerryv1.Condition{Type: "Forked", Message: forked + ": nothing merges; docs/operations.md says how to choose one"})
	}
	if !f.identity.Record().GetWitness() {
		conditions = append(conditions, f.workConditions()...)
	}
	if missing, _ := f.room.trouble(); missing.kind != "" {
		conditions = append(conditions, &skerryv1.Condition{Type: missing.kind, Message: missing.why})
	}
	if trouble := f.renewal.trouble(); trouble != "" {
		conditions = append(conditions, &skerryv1.Condition{Type: "SVIDExpired", Message: trouble})
	}
	if trouble := f.clockTrouble(); trouble != "" {
		conditions = append(conditions, &skerryv1.Condition{Type: "ClockOff", Message: trouble})
	}
	if active := f.replicas.active(); active != nil {
		if kind, trouble := active.AuditTrouble(); kind != "" {
			conditions = append(conditions, &skerryv1.Condition{Type: kind, Message: trouble})
		}
		if active.Stuck() >= hangsAfter {
			conditions = append(conditions, &skerryv1.Condition{Type: diskHangs, Message: fmt.Sprintf(
				"the disk of %s does not answer, and the replica of the log with it: look at the disk, its cable and its path (dmesg)", f.Config.StateDir)})
		}
	}
	if trouble := f.replicas.trouble(); trouble != "" {
		conditions = append(conditions, &skerryv1.Condition{Type: "VoterHalted", Message: trouble})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.EqualFunc(conditions, f.current.GetConditions(), func(a, b *skerryv1.Condition) bool { return proto.Equal(a, b) }) {
		return
	}
	next := proto.CloneOf(f.current)
	next.Conditions = conditions
	f.current = next
}

// workConditions are those of what runs workloads.
func (f *facts) workConditions() []*skerryv1.Condition {
	names, _ := f.names.trouble()
	var conditions []*skerryv1.Condition
	for _, c := range []*skerryv1.Condition{
		{Type: "ContainerdDown", Message: f.supervisor.Trouble()},
		{Type: "GuardDown", Message: f.leases.Trouble()},
		{Type: "GuardRefuses", Message: f.leases.Refused()},
		{Type: "NamesDown", Message: names},
		{Type: "VolumeOverSize", Message: f.overSize},
	} {
		if c.GetMessage() != "" {
			conditions = append(conditions, c)
		}
	}
	return append(conditions, f.machineConditions()...)
}

// setGossip tells which version of the gossip keys this node has taken over.
func (f *facts) setGossip(version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current.GetGossipVersion() == version {
		return
	}
	next := proto.CloneOf(f.current)
	next.GossipVersion = version
	f.current = next
	close(f.changed)
	f.changed = make(chan struct{})
}
