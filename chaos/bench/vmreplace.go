package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// After the seventh run every node may have been lost three times.
	vmReplaceRuns = 10
	vmLease       = "5s"
	// vmSlow is what is wanted; a run that takes longer is told of.
	vmSlow = 8 * time.Second
)

// vmReplace measures, on a site of three hosts, from the moment when the power of
// the host of an exclusive virtual machine is cut to the first byte on the console
// of its replacement. Its lease of five seconds is in it. Guests are emulated.
func vmReplace(ctx context.Context, binary, dir string) (result, error) {
	r, err := siteOf(ctx, hosts.Options{Name: "bench", Dir: dir, Binary: binary, Machines: true}, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	vm, err := r.LoadMachine(ctx, hosts.Machine{Script: "while :; do sleep 1000; done", Memory: "128Mi", Early: true})
	if err != nil {
		return nil, err
	}
	if err := imageEverywhere(ctx, r, hosts.MachineDisk); err != nil {
		return nil, err
	}
	manifest := fmt.Sprintf("kind: Workload\nname: vm\nvm: %s\nstopGrace: 1s\npartition: {mode: exclusive, lease: %s}\n", vm, vmLease)
	if _, err := r.Skerry(ctx, strings.NewReader(manifest), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	var seconds []float64
	for run := range vmReplaceRuns {
		took, err := vmReplaceOnce(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		progress("run %d: %.3f s", run+1, took.Seconds())
		seconds = append(seconds, took.Seconds())
	}
	return summary(seconds, "s"), nil
}

func vmReplaceOnce(ctx context.Context, r *hosts.Rig) (time.Duration, error) {
	if err := r.Settled(ctx); err != nil {
		return 0, err
	}
	victim, err := hostOf(ctx, r)
	if err != nil {
		return 0, err
	}
	// Whoever writes only after the power is cut is a replacement. The hosts' disks
	// are looked at: the operator's connection may be to the one that is off.
	before := map[string]bool{}
	if _, err := writes(r, before); err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := victim.PowerOff(); err != nil {
		return 0, err
	}
	err = r.Until(ctx, "a console", patience, func(context.Context) error {
		if found, err := writes(r, before); found || err != nil {
			return err
		}
		return errors.New("nobody new writes")
	})
	if err != nil {
		said, _ := r.Skerry(ctx, nil, "status") // adds to what is told
		return 0, fmt.Errorf("%w\n%s", err, said)
	}
	took := time.Since(begun)
	if took > vmSlow {
		tellSlow(ctx, r)
	}
	if err := victim.Boot(ctx); err != nil {
		return 0, err
	}
	return took, victim.StartAgent()
}

// tellSlow says what the site and its agents know of a run that took long.
func tellSlow(ctx context.Context, r *hosts.Rig) {
	const last = 40
	said, _ := r.Skerry(ctx, nil, "events") // adds to what is told
	for _, h := range r.Hosts {
		text, _ := os.ReadFile(h.AgentLog()) // likewise
		lines := strings.Split(string(text), "\n")
		said += h.Name + ":\n" + strings.Join(lines[max(0, len(lines)-last):], "\n")
	}
	progress("it took long:\n%s", said)
}

// writes tells whether a guest writes that is not known, and notes it.
func writes(r *hosts.Rig, known map[string]bool) (found bool, err error) {
	for _, h := range r.Hosts {
		names, err := h.Consoles()
		if err != nil {
			return false, err
		}
		for _, name := range names {
			found = found || !known[name]
			known[name] = true
		}
	}
	return found, nil
}

// hostOf the machine, once it runs.
func hostOf(ctx context.Context, r *hosts.Rig) (on *hosts.Host, err error) {
	err = r.Until(ctx, "the machine to run", patience, func(ctx context.Context) error {
		c, err := r.Client()
		if err != nil {
			return err
		}
		got, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement"}))
		if err != nil {
			return err
		}
		for _, resource := range got.Msg.GetResources() {
			p := resource.GetPlacement()
			if p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_RUNNING && p.GetMigration().GetOther() == "" {
				if on = r.Host(p.GetNode()); on != nil {
					return nil
				}
			}
		}
		return errors.New("it does not run")
	})
	return on, err
}
