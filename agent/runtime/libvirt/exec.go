package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// What the guest's agent gets for one answer, in seconds: it may have much to
	// read and to say when it comes to commands.
	pingTime = 3
	execTime = 30
	// agentSlack is on top of it for libvirt, which first finds out whether the
	// agent is there at all.
	agentSlack = 8 * time.Second
	// maxExecInput bounds what a command in a guest may read.
	maxExecInput = 2 << 20
	// A command is asked whether it has ended after execPoll, then after twice that,
	// and so on up to slowestPoll: each time costs the guest a process's turn.
	execPoll, slowestPoll = 50 * time.Millisecond, time.Second
)

// agent asks the guest's agent.
func (d *Driver) agent(ctx context.Context, id string, seconds int32, command string, arguments, answer any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	var said string
	err = d.link.do(ctx, time.Duration(seconds)*time.Second+agentSlack, func(l *golibvirt.Libvirt) error {
		result, err := l.QEMUDomainAgentCommand(d.domainOf(id), string(text), seconds, 0)
		if len(result) > 0 {
			said = result[0]
		}
		return err
	})
	if err != nil || answer == nil {
		return err
	}
	whole := struct {
		Return any `json:"return"`
	}{answer}
	return json.Unmarshal([]byte(said), &whole)
}

// silentAgent: the guest's agent is not there, or says nothing.
func silentAgent(err error) bool {
	return is(err, golibvirt.ErrAgentUnresponsive) || is(err, golibvirt.ErrAgentUnsynced) || errors.Is(err, errSilent)
}

// runningNow fails unless the instance runs.
func (d *Driver) runningNow(ctx context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	present, err := d.one(ctx, id)
	switch {
	case err != nil:
		return d.problem(id, "it cannot be reached", err)
	case present == nil:
		return problem.New(problem.NotFound, id, "it is not on this node")
	case present.State != runtime.Running:
		return problem.New(problem.Conflict, id, "it does not run")
	case present.Paused:
		return problem.New(problem.Conflict, id, "it is paused").WithHint("skerry vm resume NAME")
	}
	return nil
}

// PingAgent asks the guest's agent whether it is there.
func (d *Driver) PingAgent(ctx context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	err := d.agent(ctx, id, pingTime, "guest-ping", nil, nil)
	if silentAgent(err) {
		return problem.New(problem.Unavailable, id, "the guest's agent does not answer").
			WithHint("is qemu-guest-agent installed in the guest, and running?")
	}
	return d.problem(id, "the guest's agent cannot be asked", err)
}

// execStatus is what the agent says of a command.
type execStatus struct {
	Exited   bool   `json:"exited"`
	ExitCode int    `json:"exitcode"`
	Signal   int    `json:"signal"`
	Out      []byte `json:"out-data"`
	Err      []byte `json:"err-data"`
}

// Exec runs a command in the guest, by its agent; or opens its console.
func (d *Driver) Exec(ctx context.Context, id string, exec runtime.Exec) (int, error) {
	if err := d.runningNow(ctx, id); err != nil {
		return 0, err
	}
	if exec.Console {
		return 0, d.console(ctx, id, exec)
	}
	if len(exec.Command) == 0 {
		return 0, problem.New(problem.Invalid, id, "there is no command")
	}
	if exec.Terminal {
		return 0, problem.New(problem.Invalid, id, "the agent of a virtual machine offers no terminal").WithHint("skerry vm console NAME opens its console")
	}
	arguments := map[string]any{"path": exec.Command[0], "arg": exec.Command[1:], "capture-output": true}
	if exec.Stdin != nil {
		var input bytes.Buffer
		if _, err := io.Copy(&input, io.LimitReader(exec.Stdin, maxExecInput+1)); err != nil {
			return 0, problem.New(problem.Invalid, id, "its input cannot be read: %w", err)
		}
		if input.Len() > maxExecInput {
			return 0, problem.New(problem.Invalid, id, "a command in a virtual machine reads at most %d MiB", maxExecInput>>20)
		}
		arguments["input-data"] = input.Bytes()
	}
	var begun struct {
		PID int `json:"pid"`
	}
	if err := d.agent(ctx, id, execTime, "guest-exec", arguments, &begun); err != nil {
		return 0, d.execFailure(id, exec.Command[0], err)
	}
	return d.await(ctx, id, begun.PID, exec)
}

func (d *Driver) execFailure(id, program string, err error) error {
	switch {
	case silentAgent(err):
		return problem.New(problem.Unavailable, id, "commands are run by the guest's agent, which does not answer").
			WithHint("is qemu-guest-agent installed in the guest, and running?")
	case strings.Contains(err.Error(), "xecute child process"), strings.Contains(err.Error(), "o such file"):
		return problem.New(problem.Invalid, id, "%s cannot be executed in the guest: %s", program, plain(err))
	default:
		return d.problem(id, "the command was not executed", err)
	}
}

// await the end of a command.
func (d *Driver) await(ctx context.Context, id string, pid int, exec runtime.Exec) (int, error) {
	for poll := execPoll; ; poll = min(2*poll, slowestPoll) {
		var status execStatus
		if err := d.agent(ctx, id, execTime, "guest-exec-status", map[string]any{"pid": pid}, &status); err != nil {
			return 0, d.execFailure(id, exec.Command[0], err)
		}
		if !status.Exited {
			if err := env.Sleep(ctx, d.Env.Clock, poll); err != nil {
				return 0, d.problem(id, "the command did not end in time; it goes on in the guest", err)
			}
			continue
		}
		if err := errors.Join(write(exec.Stdout, status.Out), write(exec.Stderr, status.Err)); err != nil {
			return 0, err
		}
		if status.Signal != 0 {
			const killed = 128
			return killed + status.Signal, nil
		}
		return status.ExitCode, nil
	}
}

func write(to io.Writer, data []byte) error {
	if to == nil || len(data) == 0 {
		return nil
	}
	_, err := to.Write(data)
	return err
}
