package supervisor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	// maxCheckOutput of a failed exec check goes into its message, in bytes.
	maxCheckOutput = 200
	// answerTime is what the runtime has to show that it is there.
	answerTime = 2 * time.Second
)

// check asks an instance whether it is healthy; nil is yes.
func (s *Supervisor) check(ctx context.Context, action reconcile.Action) error {
	timeout, err := manifest.Duration(action.Health.GetTimeout())
	if err != nil {
		timeout = 2 * time.Second
	}
	if action.Health.GetGuestAgent() != nil {
		return s.checkGuest(ctx, action, timeout)
	}
	if action.Health.GetExec() != nil {
		return s.checkExec(ctx, action, timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if action.VM != nil {
		var err error
		if action.Address, err = s.guestAddress(ctx, action); err != nil {
			return err
		}
	}
	if action.Health.GetHttp() != nil {
		return s.checkHTTP(ctx, action)
	}
	return s.checkTCP(ctx, action)
}

// checkGuest asks the agent of a guest.
func (s *Supervisor) checkGuest(ctx context.Context, action reconcile.Action, timeout time.Duration) error {
	pinger, ok := s.Driver.(runtime.AgentPinger)
	if !ok {
		return fmt.Errorf("%w: this node runs no virtual machines", reconcile.ErrUnknown)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.unlessSilent(ctx, pinger.PingAgent(ctx, action.ID))
}

// guestAddress is how the guest is reached from here.
func (s *Supervisor) guestAddress(ctx context.Context, action reconcile.Action) (string, error) {
	finder, ok := s.Driver.(runtime.Addresser)
	if !ok {
		return "", fmt.Errorf("%w: this node runs no virtual machines", reconcile.ErrUnknown)
	}
	found, err := finder.GuestAddress(ctx, action.ID, action.VM)
	return found, s.unlessSilent(ctx, err)
}

// unlessSilent is the result of a check, unless the runtime is not there: that says
// nothing about the instance.
func (s *Supervisor) unlessSilent(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	listCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	if _, silent := s.Driver.List(listCtx); silent != nil {
		return fmt.Errorf("%w: %w", reconcile.ErrUnknown, silent)
	}
	return err
}

// address of a port: of a guest by its number; else by its name, on the container's
// own address or the node's.
func address(action reconcile.Action, name string) string {
	if action.VM != nil {
		return net.JoinHostPort(action.Address, name)
	}
	host := action.Address
	if host == "" {
		host = "127.0.0.1"
	}
	for _, port := range action.Container.GetPorts() {
		if port.GetName() == name {
			return net.JoinHostPort(host, strconv.Itoa(int(port.GetPort())))
		}
	}
	return host
}

func (s *Supervisor) checkHTTP(ctx context.Context, action reconcile.Action) error {
	check := action.Health.GetHttp()
	url := "http://" + address(action, check.GetPort()) + check.GetPath()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// A connection for each check: one that is kept would hide that no new ones
	// are taken.
	transport := &http.Transport{
		DialContext:       s.Env.Net.Dial,
		DisableKeepAlives: true,
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("GET %s: %w", check.GetPath(), err)
	}
	_, _ = io.CopyN(io.Discard, response.Body, 4096) // the answer does not matter
	_ = response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 399 {
		return fmt.Errorf("GET %s on port %s answered %s", check.GetPath(), check.GetPort(), response.Status)
	}
	return nil
}

func (s *Supervisor) checkTCP(ctx context.Context, action reconcile.Action) error {
	conn, err := s.Env.Net.Dial(ctx, "tcp", address(action, action.Health.GetTcp().GetPort()))
	if err != nil {
		return err
	}
	return conn.Close()
}

func (s *Supervisor) checkExec(ctx context.Context, action reconcile.Action, timeout time.Duration) error {
	output := &bounded{}
	execCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	code, err := s.Driver.Exec(execCtx, action.ID, runtime.Exec{
		Command: action.Health.GetExec().GetCommand(), Stdout: output, Stderr: output,
	})
	if err != nil {
		// A runtime that is not there says nothing about the instance.
		listCtx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		if _, silent := s.Driver.List(listCtx); silent != nil {
			return fmt.Errorf("%w: %w", reconcile.ErrUnknown, silent)
		}
		if execCtx.Err() != nil {
			return fmt.Errorf("%q did not end within %s", command(action.Health), timeout)
		}
		return err
	}
	if code != 0 {
		return fmt.Errorf("%q ended with exit code %d: %s", command(action.Health), code, output)
	}
	return nil
}

func command(h *skerryv1.Health) string { return strings.Join(h.GetExec().GetCommand(), " ") }

// bounded keeps the beginning of what is written to it.
type bounded struct{ text []byte }

func (b *bounded) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), maxCheckOutput-len(b.text))]...)
	return len(p), nil
}

func (b *bounded) String() string { return strings.TrimSpace(string(b.text)) }
