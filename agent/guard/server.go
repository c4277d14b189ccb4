package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxClients at once: the agent, and the one that comes after it.
	maxClients = 4
	// idle after which a guard that has nothing to guard ends.
	idle = time.Minute
	// longestPause of the loop, so that it notices when the machine was asleep, and
	// the watchdog is fed.
	longestPause = 500 * time.Millisecond
	// shortly is how long the kernel is given to end what was killed, and patience
	// after how long something is said to be left: the kernel may be at it.
	shortly  = 5 * time.Millisecond
	patience = 100 * time.Millisecond
)

// Config of a guard.
type Config struct {
	// Dir is the agent's run directory; a reboot forgets what is in it.
	Dir string
	// Watchdog device; empty for none.
	Watchdog string
	// Run of the machine, from power on to power off.
	Run    string
	Env    env.System
	Logger *slog.Logger
}

// server is one guard process.
type server struct {
	Config
	core     Core
	groups   cgroups
	machines *machines
	watchdog *watchdog
	requests chan request
	// end ends this guard.
	end context.CancelFunc
	// stuck are those that were told to be killed and are not gone.
	stuck map[string]bool
}

type request struct {
	text   string
	answer chan reply
}

type reply struct {
	text string
	// ends: the guard is to end once it has been sent.
	ends bool
}

// Run guards until it is told to end, or until it has had nothing to guard for
// a while. Only one guard serves a directory.
func Run(ctx context.Context, config Config) error {
	lock, err := takeLock(filepath.Join(config.Dir, lockName))
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // the process ends
	s := &server{Config: config, groups: newCgroups(), machines: newMachines(), requests: make(chan request), stuck: map[string]bool{}}
	s.harden()
	if s.watchdog, err = openWatchdog(config.Watchdog); err != nil {
		return problem.New(problem.Invalid, config.Watchdog, "the watchdog cannot be used: %w", err).WithHint("watchdog: in the agent's configuration")
	}
	s.core.Watchdog = s.watchdog.timeout()
	s.restore()
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s.end = cancel
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.accept(ctx, listener) })
	group.Go(func() error {
		defer cancel()
		err := s.loop(ctx)
		return errors.Join(err, listener.Close())
	})
	err = group.Wait()
	s.watchdog.close(len(s.core.entries) == 0)
	return err
}

// harden does what the machine allows so that the guard is there when it is
// needed: what it has touched stays in memory, and others go before it when
// there is none.
func (s *server) harden() {
	probe := Entry{Target: CgroupTarget("/skerry-guard")}
	none := Entry{Target: MachineTarget("none")}
	blows := s.strike([]*Entry{&probe, &none}) // also touches all that killing needs
	for i := range blows {
		if s.gone(&blows[i]); blows[i].err != nil {
			s.Logger.Error("nothing of this kind could be killed here", "target", blows[i].Target, "error", blows[i].err)
		}
	}
	s.groups.release(probe.Target)
	var under unix.Statfs_t
	if err := unix.Statfs(s.Dir, &under); err != nil || under.Type != unix.TMPFS_MAGIC && under.Type != unix.RAMFS_MAGIC {
		s.Logger.Warn("the run directory is not in memory: while its disk is slow or hangs, what holds a lease may be ended too late; mount a tmpfs there",
			"runDir", s.Dir, "error", err)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		s.Logger.Warn("the guard's memory is not locked", "error", err)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		s.Logger.Info("the guard is not kept from being killed for want of memory", "error", err)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); err != nil {
		s.Logger.Info("the guard does not go before others", "error", err)
	}
}

func takeLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, problem.New(problem.Internal, path, "the guard cannot begin: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(problem.New(problem.Conflict, path, "another guard is at work"), file.Close())
	}
	return file, nil
}

func (s *server) listen(ctx context.Context) (net.Listener, error) {
	path := filepath.Join(s.Dir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, problem.New(problem.Internal, path, "the guard cannot listen: %w", err)
	}
	before := unix.Umask(0o177)
	listener, err := s.Env.Net.Listen(ctx, "unixpacket", path)
	unix.Umask(before)
	if err != nil {
		return nil, problem.New(problem.Internal, path, "the guard cannot listen: %w", err)
	}
	return listener, nil
}

// accept serves a few connections at a time.
func (s *server) accept(ctx context.Context, listener net.Listener) error {
	var clients errgroup.Group
	clients.SetLimit(maxClients)
	defer func() { _ = clients.Wait() }() // they return no errors
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			if conn != nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return problem.New(problem.Internal, s.Dir, "the guard hears nothing more: %w", err)
		}
		if !clients.TryGo(func() error { s.serve(ctx, conn); return nil }) {
			_ = conn.Close() // it comes again
		}
	}
}

// serve one connection until it ends.
func (s *server) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }() // it has ended
	if !fromRoot(conn) {
		return
	}
	packet := make([]byte, maxPacket+1)
	answer := make(chan reply, 1)
	for {
		n, err := conn.Read(packet)
		if err != nil || n == 0 || n > maxPacket {
			return
		}
		select {
		case s.requests <- request{text: string(packet[:n]), answer: answer}:
		case <-ctx.Done():
			return
		}
		said := <-answer
		_, err = conn.Write([]byte(said.text))
		if said.ends {
			s.end()
		}
		if err != nil {
			return
		}
	}
}

// loop owns the core. It acts on time before it listens.
func (s *server) loop(ctx context.Context) error {
	timer := s.Env.Clock.NewTimer(0)
	defer timer.Stop()
	last := s.Env.Clock.Elapsed()
	for {
		wake := s.step()
		now := s.Env.Clock.Elapsed()
		if len(s.core.entries) > 0 {
			last = now
		} else if now-last > idle {
			return nil
		}
		if wake == 0 || wake > longestPause {
			wake = longestPause
		}
		timer.Reset(wake)
		select {
		case <-timer.C():
		case r := <-s.requests:
			r.answer <- s.answer(r.text)
			if strings.HasPrefix(r.text, "a") { // armed
				last = s.Env.Clock.Elapsed()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// answer a request, and remember what it changes.
func (s *server) answer(request string) reply {
	before := slices.Clone(s.core.entries)
	answer, end, changed := s.core.answer(request, s.Config.Run, s.Env.Clock.Elapsed())
	if !changed {
		return reply{text: answer, ends: end}
	}
	if err := s.keep(); err != nil {
		answer = "no there is no room to remember it: " + err.Error()
	}
	for i := range before {
		s.forget(&before[i])
	}
	return reply{text: answer, ends: end}
}

// forget what was told of an entry that is no longer, or is guarded anew. The group
// of one of which nothing ever ran was made to freeze it, and goes with it.
func (s *server) forget(before *Entry) {
	after := s.core.find(before.ID)
	if before.Ended && (after == nil || !after.Ended) {
		delete(s.stuck, before.ID)
	}
	if before.Ended && !before.Ran && after == nil && strings.HasPrefix(before.Target, cgroupScheme) {
		s.groups.release(before.Target)
	}
}

// step kills what is due. It waits for the kernel once for all of them, and not for
// long: what cannot be killed keeps neither others alive nor the agent waiting.
func (s *server) step() time.Duration {
	ids, reset, wake := s.core.Step(s.Env.Clock.Elapsed())
	if !reset {
		s.watchdog.feed()
	}
	due := make([]*Entry, len(ids))
	for i, id := range ids {
		due[i] = s.core.find(id)
	}
	blows := s.strike(due)
	if slices.ContainsFunc(blows, func(b blow) bool { return b.found }) {
		pause(shortly)
	}
	now := s.Env.Clock.Elapsed()
	changed := false
	for i := range blows {
		b := &blows[i]
		first, ran := b.at == 0, b.Ran
		gone := s.gone(b)
		s.core.Killed(b.ID, b.found, gone, now)
		changed = changed || first || b.Ran != ran
		if stuck, told := s.stuck[b.ID]; told && gone == stuck || !told && (gone || now >= b.Kill+patience) {
			s.tell(b.ID, gone, b.err)
		}
	}
	if changed {
		_ = s.keep() // a guard that comes after this one kills it again
	}
	return wake
}

// blow is one attempt to kill what an entry names.
type blow struct {
	*Entry
	// found: something of it was there.
	found bool
	err   error
}

// strike kills what these entries name, and does not wait for its end. Containers
// come first: to look for machines among all processes takes longer.
func (s *server) strike(due []*Entry) []blow {
	blows := make([]blow, len(due))
	var machines []string
	for i, e := range due {
		b := &blows[i]
		if b.Entry = e; isMachine(e) {
			machines = append(machines, e.Target)
			continue
		}
		b.found, b.err = s.groups.strike(e.Target, e.Thawed)
	}
	unseen := s.machines.look(machines)
	for i := range blows {
		if b := &blows[i]; isMachine(b.Entry) {
			b.found, b.err = s.machines.strike(b.Target)
			b.err = errors.Join(b.err, unseen)
		}
	}
	return blows
}

// gone tells whether an attempt has left nothing.
func (s *server) gone(b *blow) bool {
	gone := !b.found
	if b.found && isMachine(b.Entry) {
		gone = s.machines.gone(b.Target)
	} else if b.found {
		gone = s.groups.gone(b.Target, b.Thawed)
	}
	return gone && b.err == nil
}

func isMachine(e *Entry) bool { return strings.HasPrefix(e.Target, machineScheme) }

// pause without a timer of Go's: it is too short for the loop to do anything else.
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // a shorter pause is as good
}

func (s *server) tell(id string, gone bool, err error) {
	s.stuck[id] = !gone
	if gone {
		s.Logger.Warn("a lease has ended: nothing of the placement runs any more", "instance", id)
	} else {
		s.Logger.Error("a lease has ended, and something of the placement cannot be killed", "instance", id, "error", err)
	}
	if len(s.stuck) > 4*maxGuarded {
		clear(s.stuck)
	}
}

// keep what is guarded for a guard that comes after this one, in memory.
func (s *server) keep() error {
	var text strings.Builder
	fmt.Fprintln(&text, s.Config.Run)
	for i := range s.core.entries {
		fmt.Fprintln(&text, s.core.entries[i].text())
	}
	path := filepath.Join(s.Dir, stateName)
	next := path + ".next"
	if err := os.WriteFile(next, []byte(text.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// restore what the guard before this one held, in the same run of the machine.
func (s *server) restore() {
	kept, err := os.ReadFile(filepath.Join(s.Dir, stateName))
	if err != nil {
		return // there was none
	}
	lines := strings.Split(strings.TrimSpace(string(kept)), "\n")
	if lines[0] != s.Config.Run {
		return
	}
	var entries []Entry
	for _, line := range lines[1:] {
		if e, ok := parseEntry(line); ok {
			entries = append(entries, e)
		}
	}
	s.core.Restore(entries)
}
