package hosts

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"skerry.dev/agent/identity"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
)

// Client calls the site from the operators' namespace, asking the given nodes
// first, all of them when none is given.
func (r *Rig) Client(hosts ...*Host) (*client.Client, error) {
	dialer, err := r.dialer()
	if err != nil {
		return nil, err
	}
	if len(hosts) == 0 {
		hosts = r.Hosts
	}
	var addresses []string
	for _, h := range hosts {
		addresses = append(addresses, h.API())
	}
	return client.New(dialer.HTTPClient(mtls.API2, mtls.ExpectNode("")), addresses), nil
}

// Direct calls one node and nobody else.
func (r *Rig) Direct(h *Host) (skerryv1connect.ResourceServiceClient, error) {
	dialer, err := r.dialer()
	if err != nil {
		return nil, err
	}
	return skerryv1connect.NewResourceServiceClient(dialer.HTTPClient(mtls.API2, mtls.ExpectNode(h.Name)), "https://"+h.API()), nil
}

func (r *Rig) dialer() (*mtls.Dialer, error) {
	system := env.NewSystem()
	operator, err := identity.LoadOperator(system, r.Home(), Site)
	if err != nil {
		return nil, err
	}
	return &mtls.Dialer{Net: namespaceNet{r.Namespace()}, Source: operator}, nil
}

// PlainHTTP is a client for what containers publish, from the operators'
// namespace.
func (r *Rig) PlainHTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:       namespaceNet{r.Namespace()}.Dial,
		DisableKeepAlives: true,
	}}
}

// namespaceNet dials out of a network namespace, and listens in it.
type namespaceNet struct{ name string }

// Listen implements env.Net.
func (n namespaceNet) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return within(n, func() (net.Listener, error) { return (&net.ListenConfig{}).Listen(ctx, network, address) })
}

// Dial implements env.Net.
func (n namespaceNet) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	// Addresses are numbers: one attempt, on one thread.
	return within(n, func() (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, network, address) })
}

// within makes a socket in the namespace: it stays in that of the thread that made
// it.
func within[T any](n namespaceNet, open func() (T, error)) (T, error) {
	type result struct {
		socket T
		err    error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, and nobody else
		// finds itself in the wrong namespace.
		runtime.LockOSThread()
		r := result{err: n.enter()}
		if r.err == nil {
			r.socket, r.err = open()
		}
		done <- r
	}()
	r := <-done
	return r.socket, r.err
}

func (n namespaceNet) enter() error {
	namespace, err := os.Open("/run/netns/" + n.name)
	if err != nil {
		return err
	}
	defer func() { _ = namespace.Close() }() // opened for reading only
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns %s: %w", n.name, err)
	}
	return nil
}

// OperatorDialer dials as the operator whose home this is.
func (r *Rig) OperatorDialer(home string) (*mtls.Dialer, error) {
	operator, err := identity.LoadOperator(env.NewSystem(), home, Site)
	if err != nil {
		return nil, err
	}
	return &mtls.Dialer{Net: namespaceNet{r.Namespace()}, Source: operator}, nil
}

// Dialer dials as the host's node does, from the host's own address: what
// somebody does who has its disk.
func (h *Host) Dialer() (*mtls.Dialer, error) {
	node, err := identity.Load(env.NewSystem(), identity.Dir(h.StateDir()))
	if err != nil {
		return nil, err
	}
	return &mtls.Dialer{Net: namespaceNet{h.namespace}, Source: node}, nil
}
