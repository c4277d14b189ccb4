package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// request is one command to the agent, as far as the tests use it.
type request struct {
	Execute   string `json:"execute"`
	Arguments struct {
		ID    int64    `json:"id"`
		PID   int      `json:"pid"`
		Path  string   `json:"path"`
		Args  []string `json:"arg"`
		Input []byte   `json:"input-data"`
	} `json:"arguments"`
}

// run of a command.
type run struct {
	Exited   bool   `json:"exited"`
	ExitCode int    `json:"exitcode"`
	Out      []byte `json:"out-data,omitempty"`
	Err      []byte `json:"err-data,omitempty"`
}

type runs struct {
	mu   sync.Mutex
	last int
	all  map[int]run
}

// agent answers until the machine is off. A deaf one does not hear that it
// should switch it off.
func agent(off chan<- struct{}, deaf bool) {
	port, err := os.OpenFile(agentPort(), os.O_RDWR, 0)
	if err != nil {
		return
	}
	r := &runs{last: 100, all: map[int]run{}}
	in := bufio.NewReader(port)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			continue // nobody is on the other side now
		}
		var asked request
		if json.Unmarshal(bytes.TrimLeft(line, "\xff"), &asked) != nil {
			continue
		}
		if asked.Execute == "guest-shutdown" {
			if !deaf {
				off <- struct{}{}
			}
			continue
		}
		answer, err := r.answer(asked)
		whole := map[string]any{"return": answer}
		if err != nil {
			whole = map[string]any{"error": map[string]string{"class": "GenericError", "desc": err.Error()}}
		}
		text, _ := json.Marshal(whole)
		if asked.Execute == "guest-sync-delimited" {
			text = append([]byte{0xff}, text...)
		}
		_, _ = port.Write(append(text, '\n'))
	}
}

func (r *runs) answer(asked request) (any, error) {
	switch asked.Execute {
	case "guest-sync", "guest-sync-delimited":
		return asked.Arguments.ID, nil
	case "guest-ping":
		return struct{}{}, nil
	case "guest-exec":
		return r.begin(asked)
	case "guest-network-get-interfaces":
		return addresses()
	case "guest-fsfreeze-freeze", "guest-fsfreeze-thaw":
		unix.Sync() // it has no file system to halt
		return 1, nil
	case "guest-exec-status":
		r.mu.Lock()
		defer r.mu.Unlock()
		found, ok := r.all[asked.Arguments.PID]
		if !ok {
			return nil, errors.New("PID is not known")
		}
		return found, nil
	}
	return nil, fmt.Errorf("the command %s has not been found", asked.Execute)
}

func (r *runs) begin(asked request) (any, error) {
	cmd := exec.Command(asked.Arguments.Path, asked.Arguments.Args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(asked.Arguments.Input), &out, &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("failed to execute child process: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	pid := r.last
	r.all[pid] = run{}
	go func() {
		_ = cmd.Wait() // how it ended is in its state
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all[pid] = run{true, cmd.ProcessState.ExitCode(), out.Bytes(), said.Bytes()}
	}()
	return map[string]int{"pid": pid}, nil
}

// addresses of the network cards, as far as the tests ask for them.
func addresses() (any, error) {
	cards, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []map[string]any
	for _, card := range cards {
		var of []map[string]string
		given, err := card.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range given {
			if prefix, ok := a.(*net.IPNet); ok {
				of = append(of, map[string]string{"ip-address": prefix.IP.String()})
			}
		}
		all = append(all, map[string]any{"hardware-address": card.HardwareAddr.String(), "ip-addresses": of})
	}
	return all, nil
}
