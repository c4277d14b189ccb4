package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"skerry.dev/agent/runtime/testimage"
	"skerry.dev/chaos/hosts"
)

const (
	image       = "site.local/partition:1"
	beaterImage = "site.local/beater:1"
	// copies of what may run twice.
	copies = 6
	// setupTime bounds the making of the site.
	setupTime = 5 * time.Minute
)

// site is what the nemeses strike.
type site struct {
	*hosts.Rig
	witness *hosts.Witness
	load    *load
	// older is another build of skerry, of the commit olderCommit.
	older, olderCommit string
	programs           string
	log                *slog.Logger
}

// workloads that must not suffer: copies that may run twice, one that stays on
// each node, and one that runs once at most.
const workloads = `
kind: Workload
name: web
replicas: %[4]d
container:
  image: %[1]s
  command: [sleep, "100000"]
  resources: {cpu: 10m, memory: 8Mi}
  network: none
stopGrace: 0s
---
kind: Workload
name: each
perNode: true
container:
  image: %[1]s
  command: [sleep, "100000"]
  resources: {cpu: 10m, memory: 8Mi}
  network: none
stopGrace: 0s
---
kind: Workload
name: db
container:
  image: %[2]s
  command: [beater, "%[3]s"]
  network: host
  resources: {cpu: 50m, memory: 64Mi}
stopGrace: 500ms
partition: {mode: exclusive, lease: 5s}
`

// newSite brings up a site of n hosts in three zones, with its workloads.
func newSite(ctx context.Context, o options, chosen []nemesis, log *slog.Logger) (*site, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	programs, err := os.MkdirTemp("", "partition")
	if err != nil {
		return nil, err
	}
	s := &site{log: log, older: o.older, olderCommit: o.olderCommit, programs: programs}
	disk := ""
	if slices.ContainsFunc(chosen, func(n nemesis) bool { return slices.Contains(ofDisks, n.name) }) {
		if disk, err = s.program(ctx, "faultdisk"); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	r, err := hosts.New(ctx, hosts.Options{Name: "part", Dir: "/tmp/skerry-part", Binary: o.binary, Zones: 3, FaultDisk: disk, Log: log})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.Rig = r
	if err := s.furnish(ctx, o); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) furnish(ctx context.Context, o options) error {
	if _, err := s.Add(ctx); err != nil {
		return err
	}
	if err := s.apply(ctx, shortLives); err != nil {
		return err
	}
	if err := s.Up(ctx, o.hosts-1); err != nil {
		return err
	}
	witness, err := s.NewWitness(ctx)
	if err != nil {
		return err
	}
	s.witness = witness
	beater, err := s.program(ctx, "beater")
	if err != nil {
		return err
	}
	if err := s.loadImage(ctx, image); err != nil {
		return err
	}
	if err := s.loadImage(ctx, beaterImage, beater); err != nil {
		return err
	}
	manifest := fmt.Sprintf(workloads, image, beaterImage, witness.Address, copies)
	if err := s.apply(ctx, manifest); err != nil {
		return err
	}
	return s.whole(ctx)
}

// apply a manifest, as soon as there is a coordinator.
func (s *site) apply(ctx context.Context, manifest string) error {
	return s.Until(ctx, "a manifest to be taken", writeTime, func(ctx context.Context) error {
		_, err := s.Skerry(ctx, strings.NewReader(manifest), "apply", "-f", "-")
		return err
	})
}

// program of chaos/hosts, built.
func (s *site) program(ctx context.Context, name string) (string, error) {
	path := filepath.Join(s.programs, name)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "skerry.dev/chaos/hosts/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return path, nil
}

func (s *site) loadImage(ctx context.Context, name string, programs ...string) error {
	var archive bytes.Buffer
	if err := testimage.WriteDockerArchive(&archive, name, programs...); err != nil {
		return err
	}
	file := filepath.Join(s.Dir, "image.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		return err
	}
	_, err := s.Rig.Skerry(ctx, nil, "image", "load", file)
	return err
}

func (s *site) close() error {
	var err error
	if s.witness != nil {
		err = s.witness.Close()
	}
	if s.Rig != nil {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, os.RemoveAll(s.programs))
}

// restore what a nemesis that failed may have left as it was: lines, disks, power
// and agents.
func (s *site) restore(ctx context.Context) error {
	err := s.Heal(ctx)
	for _, h := range s.Hosts {
		h.Binary = ""
		if s.FaultDisk != "" {
			err = errors.Join(err, h.Disk("ok"))
		}
		if h.FirstPID() == 0 {
			err = errors.Join(err, h.Boot(ctx))
		}
		if _, gone := h.AgentPID(); gone != nil {
			err = errors.Join(err, h.StartAgent())
		} else {
			err = errors.Join(err, h.ResumeAgent())
		}
	}
	return err
}

// others are all hosts but some.
func (s *site) others(not ...*hosts.Host) []*hosts.Host {
	return slices.DeleteFunc(slices.Clone(s.Hosts), func(h *hosts.Host) bool { return slices.Contains(not, h) })
}

// whole waits until every node is ready and answers, as many vote as there should,
// and what should run does, and nothing else. An agent may have ended long after the
// fault: a bit that has flipped is found when it is read.
func (s *site) whole(ctx context.Context) error {
	return s.Until(ctx, "the site to be whole", wholeTime, s.amiss)
}

// amiss is what is missing until the site is whole.
func (s *site) amiss(ctx context.Context) error {
	for _, h := range s.Hosts {
		if _, err := revive(h); err != nil {
			return err
		}
	}
	if err := s.Unsettled(ctx); err != nil {
		return err
	}
	all, err := s.containers()
	if err != nil {
		return err
	}
	running, wanted := 0, copies+len(s.Hosts)+1
	for _, containers := range all {
		running += len(containers)
	}
	if running != wanted {
		return fmt.Errorf("%d containers run, it should be %d", running, wanted)
	}
	return s.answers(ctx)
}

// answers: what every host says, or sends callers on to, is up to date.
func (s *site) answers(ctx context.Context) error {
	if s.load == nil {
		return nil
	}
	for i, h := range s.Hosts {
		o := operation{Key: "web", Kind: reads}
		if err := s.load.way(i).attempt(ctx, &o, ""); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if o.Outcome != done {
			return fmt.Errorf("%s answers what may be out of date", h.Name)
		}
	}
	return nil
}

// containers of all hosts that have power.
func (s *site) containers() (map[string]map[string]string, error) {
	all := map[string]map[string]string{}
	for _, h := range s.Hosts {
		found, err := h.Containers()
		if err != nil {
			return nil, err
		}
		all[h.Name] = found
	}
	return all, nil
}

// What runs on each node, and what is exclusive, by the names of their containers.
const (
	perNode   = "each-"
	exclusive = "db-"
)

// harmed are containers that nothing happened to and that are no more, or others
// than before. None is restarted on a host that kept its power. On one that was
// touched, what may run elsewhere may have been replaced; what belongs to each node
// has gone on there too. What is exclusive lives by its lease: it must have gone on
// where its node was fine and leases were to be had, and otherwise is judged by
// its witness.
func harmed(before, after map[string]map[string]string, touched map[string]bool, leases bool) []string {
	var found []string
	for host, containers := range before {
		for name, was := range containers {
			is, there := after[host][name]
			fine := !touched[host]
			mayGo := !fine && !strings.Contains(name, perNode)
			if strings.Contains(name, exclusive) {
				mayGo = !fine || !leases
			}
			switch {
			case there && is != was && (!mayGo || !strings.Contains(name, exclusive)):
				found = append(found, fmt.Sprintf("%s on %s was restarted (%s, now %s)", name, host, was, is))
			case !there && !mayGo && fine:
				found = append(found, fmt.Sprintf("%s on %s was ended, though its node was fine", name, host))
			case !there && !mayGo:
				found = append(found, fmt.Sprintf("%s on %s was ended, though it belongs there", name, host))
			}
		}
	}
	slices.Sort(found)
	return found
}

// leaseGap is how long writes may stand still without a lease being lost: those of
// the exclusive one, of 5 s, are renewed at a third, and end 1.1 s early.
const leaseGap = 1500 * time.Millisecond
