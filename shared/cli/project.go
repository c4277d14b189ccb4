package cli

import (
	"fmt"
	"strconv"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// projectTable shows what the workloads of projects ask for, of what they may.
func (r *reading) projectTable(resources []*skerryv1.Resource) *table {
	t := newTable("NAME", "CPU", "MEMORY", "PLACEMENTS", "VOLUMES", "AGE")
	for _, resource := range resources {
		p := resource.GetProject()
		quota, used := p.GetQuota(), p.GetUsed()
		t.row(p.GetName(),
			ofQuota(used.GetCpu(), quota.GetCpu()),
			ofQuota(memoryText(used.GetMemory()), quota.GetMemory()),
			ofCount(used.GetPlacements(), quota != nil && quota.Placements != nil, quota.GetPlacements()),
			ofCount(used.GetVolumes(), quota != nil && quota.Volumes != nil, quota.GetVolumes()),
			r.since(p.GetCreated().AsTime()))
	}
	return t
}

func ofQuota(used, quota string) string {
	if quota == "" {
		return used
	}
	return used + "/" + quota
}

func ofCount(used uint32, limited bool, quota uint32) string {
	if !limited {
		return fmt.Sprint(used)
	}
	return fmt.Sprintf("%d/%d", used, quota)
}

// memoryText is a number of bytes in the largest unit that divides it.
func memoryText(bytes string) string {
	n, err := strconv.ParseInt(bytes, 10, 64)
	if err != nil || n == 0 {
		return bytes
	}
	for _, unit := range []string{"", "Ki", "Mi"} {
		if n%1024 != 0 {
			return fmt.Sprintf("%d%s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%dGi", n)
}

// plainTable shows what resources of all kinds have.
func (r *reading) plainTable(resources []*skerryv1.Resource) *table {
	t := newTable("NAME", "PROJECT", "GENERATION", "LABELS", "AGE")
	for _, resource := range resources {
		o := manifest.Of(resource)
		t.row(o.GetName(), o.GetProject(), fmt.Sprint(o.GetGeneration()), pairs(o.GetLabels()), r.since(manifest.Created(o)))
	}
	return t
}
