package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/chaos/check"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// Site is the name of every rig's site.
	Site = "harbour"
	// settleTime bounds the wait for a site to come to rest.
	settleTime = 3 * time.Minute
)

// Up makes a site of n hosts named node-1 and on, and waits until it has
// settled.
func (r *Rig) Up(ctx context.Context, n int) error {
	for range n {
		if _, err := r.Add(ctx); err != nil {
			return err
		}
	}
	return r.Settled(ctx)
}

// Add one more host to the site and start its agent.
func (r *Rig) Add(ctx context.Context, tokenFlags ...string) (*Host, error) {
	number := len(r.Hosts) + 1
	zone := number
	if r.Zones > 0 {
		zone = (number-1)%r.Zones + 1
	}
	h, err := r.AddHost(ctx, fmt.Sprintf("node-%d", number), fmt.Sprintf("zone-%d", zone))
	if err != nil {
		return nil, err
	}
	if r.FaultDisk != "" {
		if err := h.FaultyDisk(ctx, r.FaultDisk); err != nil {
			return nil, err
		}
	}
	if err := h.Boot(ctx); err != nil {
		return nil, err
	}
	if number == 1 {
		_, err = h.Skerry(ctx, "site", "init", Site, "--config", h.Config())
	} else {
		err = r.join(ctx, h, tokenFlags)
	}
	if err != nil {
		return nil, err
	}
	return h, h.StartAgent()
}

func (r *Rig) join(ctx context.Context, h *Host, tokenFlags []string) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var token string
	err := until(ctx, "a token", func() (err error) {
		token, err = r.Skerry(ctx, nil, append([]string{"token", "create", "--role", "node", "--zone", h.Zone, "--quiet"}, tokenFlags...)...)
		return err
	})
	if err != nil {
		return err
	}
	known := slices.IndexFunc(r.Hosts, func(other *Host) bool { return other != h })
	_, err = h.Skerry(ctx, "join", strings.TrimSpace(token), r.Hosts[known].API(), "--config", h.Config())
	return err
}

// Skerry runs an operator's command outside the hosts.
func (r *Rig) Skerry(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return output(r.as(ctx, args...), stdin, r.Home())
}

// Status of the site, as any node tells it.
func (r *Rig) Status(ctx context.Context) (*skerryv1.StatusResponse, error) {
	c, err := r.Client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	response, err := c.Site().Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

// Settled waits until every host is a node that is ready, as many vote as
// there should, and every placement that should run is healthy.
func (r *Rig) Settled(ctx context.Context) error {
	return r.Until(ctx, "the site to settle", settleTime, r.Unsettled)
}

// Unsettled says what is missing until the site has settled.
func (r *Rig) Unsettled(ctx context.Context) error {
	status, err := r.Status(ctx)
	if err != nil {
		return err
	}
	return unsettled(status, len(r.Hosts))
}

// Until repeats a look until it finds nothing wrong, for at most so long.
func (r *Rig) Until(ctx context.Context, what string, limit time.Duration, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return until(ctx, what, func() error { return look(ctx) })
}

func unsettled(status *skerryv1.StatusResponse, hosts int) error {
	ready, voting := 0, 0
	for _, node := range status.GetNodes() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_READY {
			ready++
			if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
				voting++
			}
		}
	}
	if wanted := check.VoterTarget(hosts); ready != hosts || voting != wanted || status.GetCoordinator() == "" {
		return fmt.Errorf("%d of %d nodes are ready, %d of %d vote, the coordinator is %q",
			ready, hosts, voting, wanted, status.GetCoordinator())
	}
	if status.GetHealthy() != status.GetPlacements() {
		return fmt.Errorf("%d of %d placements are healthy", status.GetHealthy(), status.GetPlacements())
	}
	return nil
}

// Coordinator returns the host that coordinates, and another voter's.
func (r *Rig) Coordinator(ctx context.Context) (leader, other *Host, err error) {
	status, err := r.Status(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, node := range status.GetNodes() {
		switch {
		case node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER || node.GetState() != skerryv1.NodeState_NODE_STATE_READY:
		case node.GetName() == status.GetCoordinator():
			leader = r.Host(node.GetName())
		default:
			other = r.Host(node.GetName())
		}
	}
	if leader == nil {
		return nil, nil, errors.New("the site has no coordinator")
	}
	return leader, other, nil
}

// Operator lets one more operator join, who may run work, and returns the operator's home.
func (r *Rig) Operator(ctx context.Context, name string) (home string, err error) {
	token, err := r.Skerry(ctx, nil, "token", "create", "--role", "operator", "--name", name, "--grant", "operator", "--quiet")
	if err != nil {
		return "", err
	}
	home = r.Home() + "-" + name
	_, err = output(r.as(ctx, "join", strings.TrimSpace(token), r.Hosts[0].API()), nil, home)
	return home, err
}

// As starts a command of another operator, which goes on until it ends or is
// cut. What it writes goes to the file.
func (r *Rig) As(ctx context.Context, home string, out *os.File, args ...string) (*exec.Cmd, error) {
	command := r.as(ctx, args...)
	command.Stdout, command.Stderr = out, out
	command.Env = append(os.Environ(), "SKERRY_HOME="+home)
	return command, command.Start()
}

func (r *Rig) as(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", r.Namespace(), r.Binary}, args...)...)
}

// Renew wipes a host that was evicted and lets it join under its old name.
func (r *Rig) Renew(ctx context.Context, h *Host) error {
	if err := h.StopAgent(); err != nil {
		return err
	}
	if _, err := h.Command(ctx, nil, "find", h.StateDir(), "-mindepth", "1", "-delete"); err != nil {
		return err
	}
	if err := r.join(ctx, h, nil); err != nil {
		return err
	}
	return h.StartAgent()
}
