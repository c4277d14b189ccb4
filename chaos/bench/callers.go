package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"skerry.dev/agent/identity"
	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	"skerry.dev/shared/env"
)

const (
	// callersName is the name by which this program is those who call: a process of
	// its own, whose haste is not that of the calls that are measured.
	callersName = "callers"
	// callersOperators have callersConnections each, or as many as SKERRY_CONNECTIONS
	// says.
	callersOperators   = 8
	callersConnections = 2
	// callersEnd is how long they have to end.
	callersEnd = 10 * time.Second
)

// order says what callers do for Length: so many clients write, one write after the
// other, or, if there are none, writes are offered at a rate, a second, whatever
// becomes of them.
type order struct {
	Clients int
	Rate    float64
	Length  time.Duration
}

// tallied is what became of writes in a time.
type tallied struct {
	Offered, Good, Late, Refused, Unsent, Failed int64
	Length                                       time.Duration
	// Callers and agents had so much of the processors.
	Callers, agents time.Duration
}

func (c tallied) perSecond(n int64) float64 { return float64(n) / c.Length.Seconds() }

func (c tallied) String() string {
	return fmt.Sprintf("%.0f/s offered, %.0f good, %.0f late, %.0f refused, %.0f failed, %.0f not sent, processors %.2f agents, %.2f callers",
		c.perSecond(c.Offered), c.perSecond(c.Good), c.perSecond(c.Late), c.perSecond(c.Refused), c.perSecond(c.Failed), c.perSecond(c.Unsent),
		c.agents.Seconds()/c.Length.Seconds(), c.Callers.Seconds()/c.Length.Seconds())
}

// callers are the process of those who write to a site.
type callers struct {
	rig     *hosts.Rig
	process *exec.Cmd
	orders  io.WriteCloser
	answers *json.Decoder
}

func newCallers(ctx context.Context, r *hosts.Rig) (*callers, error) {
	leader, _, err := r.Coordinator(ctx)
	if err != nil {
		return nil, err
	}
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	connections := callersConnections
	if text := os.Getenv("SKERRY_CONNECTIONS"); text != "" {
		if connections, err = strconv.Atoi(text); err != nil || connections < 1 || connections > 100 {
			return nil, fmt.Errorf("SKERRY_CONNECTIONS=%q is not a number of connections from 1 to 100", text)
		}
	}
	args := []string{"netns", "exec", r.Namespace(), own, callersName, leader.API(), strconv.Itoa(connections)}
	for n := range callersOperators {
		home, err := r.Operator(ctx, fmt.Sprintf("caller-%d", n+1))
		if err != nil {
			return nil, err
		}
		args = append(args, home)
	}
	c := &callers{rig: r, process: exec.CommandContext(ctx, "ip", args...)}
	c.process.Stderr, c.process.WaitDelay = os.Stderr, callersEnd
	if c.orders, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	answers, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.answers = json.NewDecoder(answers)
	return c, c.process.Start()
}

// end the process, which ends with its orders.
func (c *callers) end() {
	_ = c.orders.Close()
	_ = c.process.Wait() // what it says went to standard error
}

// do as ordered, and tell what became of it.
func (c *callers) do(ctx context.Context, o order) (tallied, error) {
	before, err := cpuOf(c.rig)
	if err != nil {
		return tallied{}, err
	}
	if err := json.NewEncoder(c.orders).Encode(o); err != nil {
		return tallied{}, err
	}
	var seen tallied
	if err := c.answers.Decode(&seen); err != nil {
		return tallied{}, errors.Join(errors.New("the callers ended"), err)
	}
	after, err := cpuOf(c.rig)
	if err != nil {
		return tallied{}, err
	}
	for _, agent := range after.since(before).agents {
		seen.agents += agent
	}
	return seen, ctx.Err()
}

// call is the process: it takes orders from in, one after the other, until in ends.
// Its arguments are the address of the coordinator, the number of connections of each
// operator, and where the operators keep their credentials.
func call(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	address, homes := args[0], args[2:]
	connections, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	var pipes []*pipe
	for _, home := range homes {
		operator, err := identity.LoadOperator(env.NewSystem(), home, hosts.Site)
		if err != nil {
			return err
		}
		dialer := &mtls.Dialer{Net: env.NewSystem().Net, Source: operator}
		for range connections {
			conn, err := dialer.Dial(ctx, address, mtls.API2, mtls.ExpectNode(""))
			if err != nil {
				return err
			}
			p := newPipe(conn, address, len(pipes))
			group.Go(func() error { return p.run(ctx) })
			pipes = append(pipes, p)
		}
	}
	group.Go(func() error {
		defer cancel()
		orders := json.NewDecoder(bufio.NewReader(in))
		for {
			var o order
			if err := orders.Decode(&o); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			seen, err := obey(ctx, pipes, o)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(out).Encode(seen); err != nil {
				return err
			}
		}
	})
	return group.Wait()
}

// obey one order.
func obey(ctx context.Context, pipes []*pipe, o order) (tallied, error) {
	before, err := ownTime()
	if err != nil {
		return tallied{}, err
	}
	begun := time.Now()
	for i, p := range pipes {
		clients := o.Clients / len(pipes)
		if i < o.Clients%len(pipes) {
			clients++
		}
		p.begin(clients, o.Rate/float64(len(pipes)))
	}
	err = hosts.Sleep(ctx, o.Length)
	var seen tallied
	for _, p := range pipes {
		p.stop()
	}
	for _, p := range pipes {
		for err == nil && p.busy() {
			err = hosts.Sleep(ctx, pipeTick)
		}
		seen.add(p.take())
	}
	seen.Length = time.Since(begun)
	after, cpuErr := ownTime()
	seen.Callers = after - before
	return seen, errors.Join(err, cpuErr)
}

// add what became of others.
func (c *tallied) add(more tallied) {
	c.Offered += more.Offered
	c.Good += more.Good
	c.Late += more.Late
	c.Refused += more.Refused
	c.Unsent += more.Unsent
	c.Failed += more.Failed
}

// ownTime is what this process has had of the processors.
func ownTime() (time.Duration, error) {
	var own unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &own)
	return time.Duration(own.Utime.Nano() + own.Stime.Nano()), err
}
