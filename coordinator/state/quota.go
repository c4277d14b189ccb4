package state

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// limit is one number of a quota.
type limit struct {
	name, unit string
	most       int64
	of         func(*sitev1.ProjectUse) int64
}

// limitsOf a quota; what it leaves open has none.
func limitsOf(q *skerryv1.Quota) ([]limit, error) {
	var limits []limit
	if q.GetCpu() != "" {
		most, err := manifest.QuotaCPU(q.GetCpu())
		if err != nil {
			return nil, problem.New(problem.Invalid, "", "%w", err).WithField("quota.cpu")
		}
		limits = append(limits, limit{"cpu", "thousandths of a core", most, (*sitev1.ProjectUse).GetCpuMilli})
	}
	if q.GetMemory() != "" {
		most, err := manifest.Memory(q.GetMemory())
		if err != nil {
			return nil, problem.New(problem.Invalid, "", "%w", err).WithField("quota.memory")
		}
		limits = append(limits, limit{"memory", "bytes of memory", most, (*sitev1.ProjectUse).GetMemoryBytes})
	}
	if q != nil && q.Placements != nil {
		limits = append(limits, limit{"placements", "placements", int64(q.GetPlacements()), (*sitev1.ProjectUse).GetPlacements})
	}
	if q != nil && q.Volumes != nil {
		limits = append(limits, limit{"volumes", "volumes", int64(q.GetVolumes()), (*sitev1.ProjectUse).GetVolumes})
	}
	return limits, nil
}

// text of an amount, memory in the largest unit of manifests that it is whole in.
func (l limit) text(amount int64) string {
	if l.name != "memory" {
		return fmt.Sprintf("%d %s", amount, l.unit)
	}
	unit := 0
	for units := memoryUnits; unit+1 < len(units) && amount != 0 && amount%1024 == 0; unit++ {
		amount /= 1024
	}
	return fmt.Sprintf("%d%s of memory", amount, memoryUnits[unit])
}

var memoryUnits = []string{" bytes", "Ki", "Mi", "Gi"}

// shown is what is used, in the form of a quota.
func shown(use *sitev1.ProjectUse) *skerryv1.Quota {
	return &skerryv1.Quota{
		Cpu:        fmt.Sprintf("%dm", use.GetCpuMilli()),
		Memory:     fmt.Sprint(use.GetMemoryBytes()),
		Placements: proto.Uint32(uint32(use.GetPlacements())),
		Volumes:    proto.Uint32(uint32(use.GetVolumes())),
	}
}

// checkQuota refuses a quota that is exceeded already.
func checkQuota(p *skerryv1.Project, use *sitev1.ProjectUse) error {
	limits, err := limitsOf(p.GetQuota())
	if err != nil {
		return err
	}
	for _, l := range limits {
		if used := l.of(use); used > l.most {
			return problem.New(problem.Conflict, "Project/"+p.GetName(), "its workloads ask for %s already, more than %s", l.text(used), l.text(l.most)).
				WithField("quota."+l.name).WithHint("lower their replicas first: skerry get workloads -p %s", p.GetName())
		}
	}
	return nil
}

// checkGrowth refuses a change that goes above the quota. One that asks for
// less than before is always taken.
func checkGrowth(p *skerryv1.Project, before, after *sitev1.ProjectUse) error {
	limits, err := limitsOf(p.GetQuota())
	if err != nil {
		return err
	}
	for _, l := range limits {
		used, asked := l.of(before), l.of(after)
		if asked <= l.most || asked <= used {
			continue
		}
		return problem.New(problem.Exhausted, "Project/"+p.GetName(), "its workloads would ask for %s, its quota is %s (%s now)",
			l.text(asked), l.text(l.most), l.text(used)).
			WithField("quota."+l.name).WithHint("ask for less, or let an administrator raise the quota of project %s", p.GetName())
	}
	return nil
}
