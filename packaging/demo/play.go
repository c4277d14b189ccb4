package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/runtime/testimage"
	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	image    = "site.local/web:1"
	hostPort = "18080"
	patience = 60 * time.Second
)

// demo is one run.
type demo struct {
	rig   *hosts.Rig
	web   string
	begun time.Time
	took  []figure
}

// figure is a line of the summary.
type figure struct {
	what    string
	seconds float64
}

func (d *demo) say(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(d.begun).Seconds(), fmt.Sprintf(format, args...))
}

// measure says what happens, does it, and keeps how long it took.
func (d *demo) measure(what string, do func() error) error {
	d.say("%s ...", what)
	begun := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	d.took = append(d.took, figure{what, time.Since(begun).Seconds()})
	return nil
}

// play is the whole story.
func (d *demo) play(ctx context.Context) error {
	if err := d.measure("three hosts become a site", func() error { return d.bringUp(ctx) }); err != nil {
		return err
	}
	if err := d.measure("the image comes to one node", func() error { return d.loadImage(ctx) }); err != nil {
		return err
	}
	err := d.measure("web runs on three nodes", func() error {
		if _, err := d.rig.Skerry(ctx, nil, "apply", "-f", d.web); err != nil {
			return err
		}
		return d.healthy(ctx, 3, nil)
	})
	if err != nil {
		return err
	}
	for _, h := range d.rig.Hosts {
		page, err := d.page(ctx, h)
		if err != nil {
			return fmt.Errorf("the page of %s: %w", h.Name, err)
		}
		d.say("%s serves: %s", h.Name, page)
	}
	if err := d.show(ctx, "get", "placements"); err != nil {
		return err
	}
	if err := d.disaster(ctx); err != nil {
		return err
	}
	d.summary()
	return nil
}

func (d *demo) bringUp(ctx context.Context) error {
	for n := range 3 {
		h, err := d.rig.Add(ctx)
		if err != nil {
			return err
		}
		d.say("  node-%d at %s", n+1, h.API())
	}
	return d.rig.Settled(ctx)
}

func (d *demo) loadImage(ctx context.Context) error {
	var archive bytes.Buffer
	if err := testimage.WriteDockerArchive(&archive, image); err != nil {
		return err
	}
	file := filepath.Join(d.rig.Dir, "web.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		return err
	}
	_, err := d.rig.Skerry(ctx, nil, "image", "load", file)
	return err
}

// disaster cuts the coordinator's power and gives it back.
func (d *demo) disaster(ctx context.Context) error {
	victim, other, err := d.rig.Coordinator(ctx)
	if err != nil {
		return err
	}
	d.say("the power of %s is cut: it was the coordinator", victim.Name)
	if err := victim.PowerOff(); err != nil {
		return err
	}
	cut := time.Now()
	c, err := d.rig.Client(other)
	if err != nil {
		return err
	}
	err = d.rig.Until(ctx, "a new coordinator", patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		response, err := c.Site().Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
		if err != nil {
			return err
		}
		if name := response.Msg.GetCoordinator(); name == "" || name == victim.Name {
			return fmt.Errorf("the coordinator is %q", name)
		}
		d.say("%s is the new coordinator", response.Msg.GetCoordinator())
		return nil
	})
	if err != nil {
		return err
	}
	d.took = append(d.took, figure{"power cut to new coordinator", time.Since(cut).Seconds()})
	if err := d.healthy(ctx, 3, victim); err != nil {
		return err
	}
	d.took = append(d.took, figure{"power cut to replacement healthy", time.Since(cut).Seconds()})
	if err := d.show(ctx, "status"); err != nil {
		return err
	}
	return d.measure("the power of "+victim.Name+" is back, the site is whole", func() error {
		if err := victim.Boot(ctx); err != nil {
			return err
		}
		if err := victim.StartAgent(); err != nil {
			return err
		}
		return d.rig.Settled(ctx)
	})
}

// healthy waits until so many copies answer, none of them on the host without
// power.
func (d *demo) healthy(ctx context.Context, wanted int, off *hosts.Host) error {
	c, err := d.rig.Client(d.on(off)...)
	if err != nil {
		return err
	}
	seen := 0
	return d.rig.Until(ctx, fmt.Sprintf("%d healthy copies", wanted), patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		got, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement"}))
		if err != nil {
			return err
		}
		healthy := 0
		for _, resource := range got.Msg.GetResources() {
			p := resource.GetPlacement()
			if p.GetStatus().GetReadiness() == skerryv1.Readiness_READINESS_HEALTHY && (off == nil || p.GetNode() != off.Name) &&
				p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
				healthy++
			}
		}
		if healthy != seen {
			d.say("  %d of %d copies are healthy", healthy, wanted)
			seen = healthy
		}
		if healthy < wanted {
			return fmt.Errorf("%d are", healthy)
		}
		return nil
	})
}

// on are the hosts with power.
func (d *demo) on(off *hosts.Host) []*hosts.Host {
	var on []*hosts.Host
	for _, h := range d.rig.Hosts {
		if h != off {
			on = append(on, h)
		}
	}
	return on
}

// page fetches what a host's copy serves.
func (d *demo) page(ctx context.Context, h *hosts.Host) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(h.Address, hostPort)+"/", nil)
	if err != nil {
		return "", err
	}
	response, err := d.rig.PlainHTTP().Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	text, err := io.ReadAll(io.LimitReader(response.Body, 300))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", response.Status)
	}
	return strings.Join(strings.Fields(string(text)), " "), err
}

// show prints what an operator sees.
func (d *demo) show(ctx context.Context, args ...string) error {
	out, err := d.rig.Skerry(ctx, nil, args...)
	if err != nil {
		return err
	}
	d.say("skerry %s", strings.Join(args, " "))
	for line := range strings.Lines(out) {
		fmt.Print("          " + line)
	}
	return nil
}

func (d *demo) summary() {
	fmt.Println()
	for _, f := range d.took {
		fmt.Printf("  %-60s %6.2f s\n", f.what, f.seconds)
	}
	fmt.Println()
}

// tellLogs shows the end of each agent's log, for a demo that failed.
func (d *demo) tellLogs() {
	for _, h := range d.rig.Hosts {
		text, err := os.ReadFile(h.AgentLog())
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(os.Stderr, "\nthe log of %s ends with:\n%s\n", h.Name, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// tellHow says how to reach a site that stays up.
func (d *demo) tellHow() {
	fmt.Printf(`The site is up. Its operators are in a network namespace of their own:

  export SKERRY_HOME=%s
  alias skerry="ip netns exec %s %s"
  skerry status
  skerry get placements
  skerry why web
  skerry logs -f web-2
  skerry events -f
  ip netns exec %s curl http://%s:%s/

make demo ends it and begins anew.
`, d.rig.Home(), d.rig.Namespace(), d.rig.Binary, d.rig.Namespace(), d.rig.Hosts[0].Address, hostPort)
}
