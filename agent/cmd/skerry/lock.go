package main

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"skerry.dev/shared/problem"
)

const lockFile = "agent.lock"

// lockState makes sure that one agent at most uses a state directory. The lock
// ends with the process, however it ends.
func lockState(stateDir string) (*os.File, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, problem.New(problem.Internal, stateDir, "the state directory cannot be made: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(stateDir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, unix.EROFS) {
		// Then the agent goes on without a replica.
		file, err = os.Open(filepath.Join(stateDir, lockFile))
	}
	if err != nil {
		return nil, problem.New(problem.Internal, stateDir, "the state directory cannot be locked: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return file, nil
	}
	_ = file.Close() // the other error is the one to tell
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, problem.New(problem.Conflict, stateDir, "another agent uses this state directory").
			WithHint("is the agent running already? systemctl status skerry")
	}
	return nil, problem.New(problem.Internal, stateDir, "the state directory cannot be locked: %w", err)
}

// agentRuns tells whether an agent uses the state directory now.
func agentRuns(stateDir string) bool {
	lock, err := lockState(stateDir)
	if err != nil {
		return problem.KindOf(err) == problem.Conflict
	}
	return lock.Close() != nil
}
