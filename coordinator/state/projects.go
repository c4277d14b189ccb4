package state

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	maxProjects = 1000
	// defaultProject is always there.
	defaultProject = "default"
	// maxProjectMemory keeps the sum of any number of workloads countable.
	maxProjectMemory = 1 << 60
)

var projects = table[*sitev1.ProjectRecord]{
	name:    "projects",
	key:     func(p *sitev1.ProjectRecord) string { return p.GetProject().GetName() },
	ordinal: projectsOrdinal,
}

func (x *tx) applyProject(given *skerryv1.Project) (*skerryv1.AppliedResource, error) {
	record := projects.get(x.rows, given.GetName())
	change, err := declare(record.GetProject(), given, record != nil, x.index, x.time)
	if err != nil {
		return nil, err
	}
	if record == nil && x.counts[projectsOrdinal] == maxProjects {
		return nil, exhausted("projects", maxProjects)
	}
	if err := checkQuota(change.next, record.GetUse()); err != nil {
		return nil, err
	}
	if change.outcome != outcomeUnchanged {
		projects.put(x, &sitev1.ProjectRecord{Project: change.next, Use: record.GetUse()})
		x.inform(subject{kind: "Project", name: given.GetName()}, "ProjectChanged", "generation %d", change.next.GetGeneration())
	}
	return &skerryv1.AppliedResource{Resource: manifest.Wrap(change.next), Outcome: change.outcome}, nil
}

func (x *tx) deleteProject(name string, version uint64) (*sitev1.Outcome, error) {
	record := projects.get(x.rows, name)
	about := "Project/" + bounded(name, maxName)
	if record == nil {
		return nil, missing("Project", name)
	}
	if err := checkVersion(about, version, record.GetProject().GetResourceVersion()); err != nil {
		return nil, err
	}
	if name == defaultProject {
		return nil, problem.New(problem.Conflict, about, "it is always there")
	}
	if left := x.contents(name, record); left != "" {
		return nil, problem.New(problem.Conflict, about, "there is something in it: %s", left).
			WithHint("delete that first: skerry get workloads -p %[1]s, skerry get secrets -p %[1]s", name)
	}
	projects.remove(x, name)
	x.inform(subject{kind: "Project", name: name}, "ProjectDeleted", "it was empty")
	return &sitev1.Outcome{}, nil
}

// contents says what is left in a project; empty when nothing is.
func (x *tx) contents(name string, record *sitev1.ProjectRecord) string {
	if count := record.GetUse().GetWorkloads(); count > 0 {
		if count == 1 {
			return "1 workload"
		}
		return fmt.Sprintf("%d workloads", count)
	}
	for _, p := range placements.list(x.rows) {
		if p.GetProject() == name {
			return fmt.Sprintf("placement %s, which its node has not ended yet", p.GetName())
		}
	}
	for _, s := range secrets.list(x.rows) {
		if s.GetSecret().GetProject() == name {
			return "secret " + s.GetSecret().GetName()
		}
	}
	return ""
}

// needsProject refuses what would be in a project that there is not.
func (x *tx) needsProject(project string) error {
	if projects.get(x.rows, project) != nil {
		return nil
	}
	return problem.New(problem.NotFound, "Project/"+bounded(project, maxName), "there is no such project").
		WithHint("make it first, with a manifest: {kind: Project, name: %s}", bounded(project, maxName))
}

// use counts a change of one workload, nil for none, against the quota of its
// project. Quotas are of what workloads ask for, so that they hold whatever the
// controllers do.
func (x *tx) use(project string, before, after *skerryv1.Workload) error {
	if err := x.needsProject(project); err != nil {
		return err
	}
	if err := x.grows(project, before, after); err != nil {
		return err
	}
	x.count(project, before, after)
	return nil
}

// grows refuses a change of one workload after which its project would use too
// much.
func (x *tx) grows(project string, before, after *skerryv1.Workload) error {
	record := projects.get(x.rows, project)
	next := sum(sum(record.GetUse(), useOf(before), -1), useOf(after), 1)
	if next.GetMemoryBytes() > maxProjectMemory {
		return problem.New(problem.Exhausted, "Project/"+project, "its workloads would ask for more memory than can be counted")
	}
	return checkGrowth(record.GetProject(), record.GetUse(), next)
}

// count a change of one workload, also one that nobody asked for now.
func (x *tx) count(project string, before, after *skerryv1.Workload) {
	record := projects.get(x.rows, project)
	if next := sum(sum(record.GetUse(), useOf(before), -1), useOf(after), 1); !proto.Equal(next, record.GetUse()) {
		projects.put(x, &sitev1.ProjectRecord{Project: record.GetProject(), Use: next})
	}
}

// useOf a workload is what all its placements ask for.
func useOf(w *skerryv1.Workload) *sitev1.ProjectUse {
	if w == nil {
		return nil
	}
	needs, err := NeedsOf(w)
	must(err) // it was checked when the workload was taken
	replicas := int64(manifest.Asked(w))
	use := &sitev1.ProjectUse{CpuMilli: needs.CPUMilli * replicas, MemoryBytes: (needs.MemoryBytes + needs.HugeBytes) * replicas, Placements: replicas, Workloads: 1}
	for _, mount := range w.GetContainer().GetMounts() {
		if mount.GetHostPath() != "" {
			use.Volumes += replicas
		}
	}
	return use
}

func sum(a, b *sitev1.ProjectUse, sign int64) *sitev1.ProjectUse {
	return &sitev1.ProjectUse{
		CpuMilli:    a.GetCpuMilli() + sign*b.GetCpuMilli(),
		MemoryBytes: a.GetMemoryBytes() + sign*b.GetMemoryBytes(),
		Placements:  a.GetPlacements() + sign*b.GetPlacements(),
		Volumes:     a.GetVolumes() + sign*b.GetVolumes(),
		Workloads:   a.GetWorkloads() + sign*b.GetWorkloads(),
	}
}
