// Command caller is a program that calls others by their names, as users write
// them. Tests and benchmarks run it inside containers, where it asks the
// container's own resolver.
//
//	caller get URL                       prints what is answered
//	caller load :9090 SERVICE WORKERS    calls a service without pause: asks for
//	                                     _http._tcp.SERVICE each time, on a new
//	                                     connection; GET :9090/ tells how it went
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// patience bounds one call: an answer that is slow is not lost. pause is
	// between two of a worker.
	patience = 30 * time.Second
	// answerCounts is the time to live of answers.
	answerCounts = time.Second
	pause        = 10 * time.Millisecond
	// maxTold failures are told with their reasons.
	maxTold = 20
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "get":
		body, err := get(ctx, args[1])
		fmt.Print(body)
		return err
	case len(args) == 4 && args[0] == "load":
		workers, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		return (&load{service: args[2], by: map[string]int{}}).run(ctx, args[1], workers)
	default:
		return errors.New("usage: caller get URL | load ADDRESS SERVICE WORKERS")
	}
}

// load is what was called, and how it went.
type load struct {
	service string

	mu    sync.Mutex
	calls int
	lost  int
	why   []string
	by    map[string]int
}

func (l *load) run(ctx context.Context, address string, workers int) error {
	server := &http.Server{Addr: address, Handler: l, ReadHeaderTimeout: patience}
	listening := make(chan error, 1)
	go func() { listening <- server.ListenAndServe() }()
	var calling sync.WaitGroup
	for range workers {
		calling.Go(func() {
			for ctx.Err() == nil {
				l.note(l.call(ctx))
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			}
		})
	}
	select {
	case err := <-listening:
		return err
	case <-ctx.Done():
	}
	calling.Wait()
	return server.Close()
}

// call one of those that the name stands for now; who answered.
func (l *load) call(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	who, at, err := l.resolve(ctx)
	if err != nil {
		return "", err
	}
	connected := false
	begun := time.Now()
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	if _, err := get(traced, "http://"+at+"/"); err != nil {
		return "", fmt.Errorf("%s after %s, connected %v: %w", who, time.Since(begun).Round(time.Millisecond), connected, err)
	}
	return who, nil
}

// resolve asks again when the answers do not count any more, as on a machine
// that has little time for this program.
func (l *load) resolve(ctx context.Context) (who, at string, err error) {
	for {
		begun := time.Now()
		_, found, err := net.DefaultResolver.LookupSRV(ctx, "http", "tcp", l.service)
		if err != nil {
			return "", "", err
		}
		addresses, err := net.DefaultResolver.LookupHost(ctx, found[0].Target)
		if time.Since(begun) > answerCounts && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return "", "", err
		}
		return found[0].Target, net.JoinHostPort(addresses[0], strconv.Itoa(int(found[0].Port))), nil
	}
}

func (l *load) note(who string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if err == nil {
		l.by[who]++
		return
	}
	l.lost++
	if len(l.why) < maxTold {
		l.why = append(l.why, time.Now().UTC().Format("15:04:05.000 ")+err.Error())
	}
}

// ServeHTTP tells how it went so far.
func (l *load) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"calls": l.calls, "lost": l.lost, "why": l.why, "answered": len(l.by)}) // who asked is gone then
}

// get over a connection of its own.
func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(body), err
}
