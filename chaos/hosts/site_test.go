//go:build integration

package hosts

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestPowerCutOfTheCoordinator(t *testing.T) {
	r := newSite(t, 3, 3)
	victim, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := containerPIDs(t, other)
	if err := victim.PowerOff(); err != nil {
		t.Fatal(err)
	}
	awaitHealthyOff(t, r, "web", 3, victim)
	if err := victim.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := victim.StartAgent(); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	if got := awaitHealthy(t, r, "web", 3); len(got) != 3 {
		t.Errorf("%d placements after the healing", len(got))
	}
	for _, task := range before {
		if !slices.Contains(containerPIDs(t, other), task) {
			t.Errorf("%s of %s was restarted, although its node was healthy all along", task, other.Name)
		}
	}
}

func TestAllAgentsStopAtOnceAndNothingRestarts(t *testing.T) {
	r := newSite(t, 3, 3)
	before := allPIDs(t, r)
	if len(before) != 3 {
		t.Fatalf("containers: %v", before)
	}
	for _, h := range r.Hosts {
		if err := h.KillAgent(); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range slices.Backward(r.Hosts) {
		if err := h.StartAgent(); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, r)
	awaitHealthy(t, r, "web", 3)
	if after := allPIDs(t, r); !slices.Equal(before, after) {
		t.Fatalf("containers were %v, are %v", before, after)
	}
	if restarts := skerry(t, r, nil, "get", "placements", "-o", "json"); strings.Contains(restarts, `"restarts": 1`) {
		t.Fatal(restarts)
	}
}

func TestAfterAPowerCutEverywhereANodeAloneRunsItsLedger(t *testing.T) {
	r := newSite(t, 3, 3)
	for _, h := range r.Hosts {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	alone := r.Hosts[2]
	if err := alone.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := alone.StartAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the container on the node alone", patience, func(context.Context) error {
		if pids := containerPIDs(t, alone); len(pids) != 1 {
			return fmt.Errorf("containers: %v", pids)
		}
		return nil
	})
	answersAlone(t, r, alone)
	before := containerPIDs(t, alone)
	for _, h := range r.Hosts[:2] {
		if err := h.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := h.StartAgent(); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, r)
	awaitHealthy(t, r, "web", 3)
	if after := containerPIDs(t, alone); !slices.Equal(before, after) {
		t.Fatalf("the node alone ran %v, now %v", before, after)
	}
}

// answersAlone checks that a node without quorum answers reads at once, marked
// stale with what it knows of their age, and refuses writes at once.
func answersAlone(t *testing.T, r *Rig, h *Host) {
	t.Helper()
	resources, err := r.Direct(h)
	if err != nil {
		t.Fatal(err)
	}
	await(t, r, "a stale answer", patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		begun := time.Now()
		got, err := resources.List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement"}))
		if err != nil {
			return err
		}
		if f := got.Msg.GetFreshness(); !f.GetStale() || f.GetAge() == nil && f.GetAsOf() == nil || f.GetQuorum() {
			return fmt.Errorf("it is not marked: %v", f)
		}
		if took := time.Since(begun); took > 1500*time.Millisecond {
			return fmt.Errorf("it took %s", took)
		}
		return nil
	})
	// On the node itself nobody else can be asked.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fastest := patience // a single one may be slow, on a machine that does much else
	for try := 0; try < 5 && fastest > 3*time.Second; try++ {
		begun := time.Now()
		if _, err = h.Command(ctx, strings.NewReader(web(2)), r.Binary, "apply", "-f", "-", "--address", h.API()); err == nil {
			t.Fatal("a node without quorum took a write")
		}
		fastest = min(fastest, time.Since(begun))
	}
	if fastest > 3*time.Second {
		t.Errorf("the refusal took %s", fastest)
	}
	if text := err.Error(); !strings.Contains(text, "hint") || !strings.Contains(text, "quorum") && !strings.Contains(text, "voter") && !strings.Contains(text, "coordinator") {
		t.Errorf("the refusal does not say why and what to do: %s", text)
	}
}

func TestCutOffNodeKeepsRunningAndComesBack(t *testing.T) {
	r := newSite(t, 3, 3)
	_, cut, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := containerPIDs(t, cut)
	own := awaitHealthy(t, r, "web", 3)
	own = slices.DeleteFunc(own, func(p *skerryv1.Placement) bool { return p.GetNode() != cut.Name })
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == cut })
	if err := r.Cut(t.Context(), []*Host{cut}, rest); err != nil {
		t.Fatal(err)
	}
	awaitHealthyOff(t, r, "web", 3, cut)
	answersAlone(t, r, cut)
	ran := own[0].GetName()
	if out, err := cut.Command(t.Context(), nil, r.Binary, "exec", ran, "--address", cut.API(), "--", "echo", "alone"); err != nil || !strings.Contains(out, "alone") {
		t.Fatalf("a command on the node that was cut off: %q %v", out, err)
	}
	// Who reaches both sides is told how to ask the other one, and gets its answer.
	if out, err := r.Skerry(t.Context(), nil, "logs", ran); err == nil || !strings.Contains(err.Error(), "is lost") || !strings.Contains(err.Error(), "--address "+cut.API()) {
		t.Errorf("the logs of a placement on the other side: %q %v", out, err)
	}
	if out, err := r.Skerry(t.Context(), nil, "exec", ran, "--address", cut.API(), "--", "echo", "asked"); err != nil || !strings.Contains(out, "asked") {
		t.Errorf("a command on the other side: %q %v", out, err)
	}
	if during := containerPIDs(t, cut); !slices.Equal(before, during) {
		t.Errorf("the node that was cut off ran %v, now %v", before, during)
	}
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	awaitHealthy(t, r, "web", 3)
	await(t, r, "the command to be in the audit log", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "audit", "list", "--verb", "exec")
		if err == nil && (!strings.Contains(out, "Placement/default/"+ran) || !strings.Contains(out, "echo alone")) {
			err = fmt.Errorf("it lists %s", out)
		}
		return err
	})
	await(t, r, "the surplus to go", patience, func(context.Context) error {
		if all := allPIDs(t, r); len(all) != 3 {
			return fmt.Errorf("containers: %v", all)
		}
		return nil
	})
}

func TestOneWayCutOfTheCoordinator(t *testing.T) {
	r := newSite(t, 3, 0)
	deaf, _, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == deaf })
	for _, h := range rest {
		if err := deaf.Deafen(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	c := clientOf(t, r, rest...)
	await(t, r, "another coordinator", patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		status, err := c.Site().Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
		if err != nil {
			return err
		}
		if name := status.Msg.GetCoordinator(); name == "" || name == deaf.Name {
			return fmt.Errorf("it is %q", name)
		}
		return nil
	})
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
}

func TestPausedCoordinatorIsReplacedAndComesBack(t *testing.T) {
	r := newSite(t, 3, 3)
	before := allPIDs(t, r)
	paused, _, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := paused.PauseAgent(); err != nil {
		t.Fatal(err)
	}
	awaitHealthyOff(t, r, "web", 3, paused)
	if err := paused.ResumeAgent(); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	awaitHealthy(t, r, "web", 3)
	for _, task := range before {
		if !strings.Contains(task, "=") {
			t.Fatal(task)
		}
	}
	await(t, r, "three containers", patience, func(context.Context) error {
		if all := allPIDs(t, r); len(all) != 3 {
			return fmt.Errorf("containers: %v", all)
		}
		return nil
	})
}

func TestTwoVotersDieOneAfterTheOther(t *testing.T) {
	r := newSite(t, 5, 0)
	for range 2 {
		_, victim, err := r.Coordinator(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.PowerOff(); err != nil {
			t.Fatal(err)
		}
		r.Hosts = slices.DeleteFunc(r.Hosts, func(h *Host) bool { return h == victim })
		t.Cleanup(func() { r.Hosts = append(r.Hosts, victim) }) // its network is removed with the rig
		await(t, r, "three living voters", patience, func(ctx context.Context) error {
			status, err := r.Status(ctx)
			if err != nil {
				return err
			}
			voting := 0
			for _, node := range status.GetNodes() {
				if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
					if node.GetName() == victim.Name {
						return fmt.Errorf("%s still votes", victim.Name)
					}
					voting++
				}
			}
			if voting != 3 {
				return fmt.Errorf("%d nodes vote", voting)
			}
			return nil
		})
	}
	apply(t, r, web(0))
}
