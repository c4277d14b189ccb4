package state

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func declareEntry(objects ...manifest.Object) *sitev1.Entry {
	change := &sitev1.ApplyResources{}
	for _, object := range objects {
		change.Resources = append(change.Resources, manifest.Wrap(object))
	}
	return &sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: change}}
}

func removeEntry(kind, project, name string) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{
		Kind: kind, Project: project, Name: name,
	}}}
}

func projectNamed(name string, quota *skerryv1.Quota) *skerryv1.Project {
	return &skerryv1.Project{Kind: "Project", Name: name, Quota: quota}
}

func work(project, name string, replicas uint32, cpu string, mounts ...*skerryv1.Mount) *skerryv1.Workload {
	w := &skerryv1.Workload{
		Name: name, Project: project, Replicas: proto.Uint32(replicas),
		Container: &skerryv1.Container{Image: "site.local/web:1", Resources: &skerryv1.Resources{Cpu: cpu, Memory: "64Mi"}, Mounts: mounts},
	}
	manifest.Default(w)
	return w
}

func TestAWorkloadNeedsItsProject(t *testing.T) {
	s := newSite(t, 1)
	s.refused("not_found", declareEntry(work("shop", "web", 1, "100m")))
	s.ok(declareEntry(work("default", "web", 1, "100m")))
	s.ok(declareEntry(projectNamed("shop", nil), work("shop", "web", 1, "100m")))
	if got := s.store.View().Workload("shop", "web"); got == nil {
		t.Error("a project and what is in it cannot be applied together")
	}
}

func TestAProjectWithContentStays(t *testing.T) {
	s := newSite(t, 1)
	s.ok(declareEntry(projectNamed("shop", nil), work("shop", "web", 1, "100m")))
	refused := s.refused("conflict", removeEntry("Project", "", "shop"))
	if !strings.Contains(refused.GetError(), "1 workload") {
		t.Errorf("it says %q", refused.GetError())
	}
	s.ok(removeEntry("Workload", "shop", "web"))
	s.ok(removeEntry("Project", "", "shop"))
	s.refused("not_found", declareEntry(work("shop", "web", 1, "100m")))
	s.refused("conflict", removeEntry("Project", "", "default"))
	s.refused("not_found", removeEntry("Project", "", "shop"))
}

func TestQuotas(t *testing.T) {
	volume := &skerryv1.Mount{Target: "/data", HostPath: "/srv"}
	for _, test := range []struct {
		name  string
		quota *skerryv1.Quota
		given *skerryv1.Workload
		field string // empty: it is taken
	}{
		{"no quota", nil, work("shop", "web", 1000, "1"), ""},
		{"exactly all", &skerryv1.Quota{Cpu: "1", Memory: "256Mi", Placements: proto.Uint32(4), Volumes: proto.Uint32(4)}, work("shop", "web", 4, "250m", volume), ""},
		{"too much CPU", &skerryv1.Quota{Cpu: "1"}, work("shop", "web", 5, "250m"), "quota.cpu"},
		{"too much memory", &skerryv1.Quota{Memory: "319Mi"}, work("shop", "web", 5, "250m"), "quota.memory"},
		{"too many placements", &skerryv1.Quota{Placements: proto.Uint32(4)}, work("shop", "web", 5, "250m"), "quota.placements"},
		{"any placement, where none may be", &skerryv1.Quota{Placements: proto.Uint32(0)}, work("shop", "web", 1, "250m"), "quota.placements"},
		{"too many volumes", &skerryv1.Quota{Volumes: proto.Uint32(4)}, work("shop", "web", 5, "250m", volume), "quota.volumes"},
		{"volumes that are none", &skerryv1.Quota{Volumes: proto.Uint32(0)}, work("shop", "web", 5, "250m", &skerryv1.Mount{Target: "/tmp", Tmpfs: "1Mi"}), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, 1)
			s.ok(declareEntry(projectNamed("shop", test.quota)))
			if test.field == "" {
				s.ok(declareEntry(test.given))
				return
			}
			refused := s.refused("exhausted", declareEntry(test.given))
			if refused.GetDetail().GetField() != test.field || refused.GetDetail().GetHint() == "" {
				t.Errorf("it blames %v", refused.GetDetail())
			}
		})
	}
}

func TestAQuotaBelowWhatIsUsedIsRefused(t *testing.T) {
	s := newSite(t, 1)
	s.ok(declareEntry(projectNamed("shop", nil), work("shop", "web", 4, "250m")))
	s.refused("conflict", declareEntry(projectNamed("shop", &skerryv1.Quota{Cpu: "999m"})))
	s.ok(declareEntry(projectNamed("shop", &skerryv1.Quota{Cpu: "1"})))
	s.refused("exhausted", declareEntry(work("shop", "db", 1, "1m")))
	s.ok(declareEntry(work("shop", "web", 3, "250m"), work("shop", "db", 1, "250m")))
}

// TestQuotasAreNeverExceeded gives a store random applies, deletes and quotas,
// and counts by itself what all workloads ask for.
func TestQuotasAreNeverExceeded(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newSite(t, 1)
		for range rapid.IntRange(1, 40).Draw(r, "entries") {
			project := rapid.SampledFrom([]string{"default", "shop", "lab"}).Draw(r, "project")
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "name")
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0:
				s.apply(removeEntry("Workload", project, name))
			case 1:
				s.apply(removeEntry("Project", "", project))
			case 2:
				quota := &skerryv1.Quota{Cpu: fmt.Sprintf("%dm", rapid.IntRange(1, 500).Draw(r, "cpu"))}
				if rapid.Bool().Draw(r, "count") {
					quota.Placements = proto.Uint32(rapid.Uint32Range(0, 6).Draw(r, "placements"))
				}
				s.apply(declareEntry(projectNamed(project, quota)))
			default:
				s.apply(declareEntry(work(project, name, rapid.Uint32Range(0, 4).Draw(r, "replicas"), fmt.Sprintf("%dm", rapid.IntRange(1, 100).Draw(r, "each")))))
			}
			if rapid.IntRange(0, 9).Draw(r, "restart") == 0 {
				s.restart()
			}
			checkUse(r, s.store.View())
		}
	})
}

func checkUse(r *rapid.T, v *View) {
	cpu, count := map[string]int64{}, map[string]uint32{}
	for _, w := range v.Workloads() {
		each, err := manifest.CPU(w.GetContainer().GetResources().GetCpu())
		if err != nil {
			r.Fatal(err)
		}
		cpu[w.GetProject()] += each * int64(w.GetReplicas())
		count[w.GetProject()] += w.GetReplicas()
	}
	for _, p := range v.Projects() {
		if want := fmt.Sprintf("%dm", cpu[p.GetName()]); p.GetUsed().GetCpu() != want || p.GetUsed().GetPlacements() != count[p.GetName()] {
			r.Fatalf("project %s uses %v, not %s and %d", p.GetName(), p.GetUsed(), want, count[p.GetName()])
		}
		if text := p.GetQuota().GetCpu(); text != "" {
			if most, err := manifest.QuotaCPU(text); err != nil || cpu[p.GetName()] > most {
				r.Fatalf("project %s asks for %d, its quota is %s", p.GetName(), cpu[p.GetName()], text)
			}
		}
		if q := p.GetQuota(); q != nil && q.Placements != nil && count[p.GetName()] > q.GetPlacements() {
			r.Fatalf("project %s asks for %d placements of %d", p.GetName(), count[p.GetName()], q.GetPlacements())
		}
	}
}

func TestAmountsOfMemoryAreInTheUnitsOfManifests(t *testing.T) {
	for amount, want := range map[int64]string{
		0: "0 bytes of memory", 1000: "1000 bytes of memory", 64 << 20: "64Mi of memory", 3 << 29: "1536Mi of memory", 16 << 30: "16Gi of memory",
		2 << 40: "2048Gi of memory",
	} {
		if got := (limit{name: "memory"}).text(amount); got != want {
			t.Errorf("%d is %q, want %q", amount, got, want)
		}
	}
}
