package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// children are the processes of the stack. They die with the supervisor, however it ends.
type children struct {
	layout layout

	mu     sync.Mutex
	state  state
	byName map[string]*child
	start  chan func()
}

// child is one process of the stack, with its log.
type child struct {
	name  string
	log   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
}

func newChildren(l layout) (*children, error) {
	self, err := identify(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("identify the supervisor: %w", err)
	}
	c := &children{layout: l, state: state{Supervisor: self}, byName: map[string]*child{}, start: make(chan func())}
	// The kernel sends a parent-death signal when the thread that started the process ends, so all are started by one
	// thread, which lives as long as the supervisor.
	go func() {
		runtime.LockOSThread()
		for start := range c.start {
			start()
		}
	}()
	return c, c.update(func(*state) {})
}

// update changes the state and writes it down.
func (c *children) update(change func(*state)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.state)
	return c.state.write(c.layout)
}

// run starts a process with its output in DIR/logs/NAME.log.
func (c *children) run(name string, cmd *exec.Cmd) (*child, error) {
	path := c.layout.log(name)
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// A group of its own: an interrupt at a terminal is for the supervisor, which then stops the others in order.
	cmd.SysProcAttr.Setpgid = true

	result := make(chan error)
	c.start <- func() { result <- cmd.Start() }
	if err := <-result; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		id = process{PID: cmd.Process.Pid} // it has ended already
	}
	started := &child{name: name, log: path, cmd: cmd, ended: make(chan struct{})}
	err = c.update(func(s *state) {
		s.Children = append(s.Children, childProcess{Name: name, Process: id, Log: path})
		c.byName[name] = started
	})
	go func() {
		_ = cmd.Wait() // what it says is in ProcessState
		how := cmd.ProcessState.String()
		err := c.update(func(s *state) {
			for i := range s.Children {
				if s.Children[i].Process == id {
					s.Children[i].Ended = how
				}
			}
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "stack:", err)
		}
		fmt.Fprintf(os.Stderr, "%s %s ended: %s\n", time.Now().Format(time.TimeOnly), name, how)
		close(started.ended) // last: whoever waits for it may remove the state
	}()
	return started, err
}

// find returns a process by its name, or nil.
func (c *children) find(name string) *child {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[name]
}

// stop asks processes to end, and kills those that have not done so after the grace period.
func (c *children) stop(grace time.Duration, names ...string) {
	deadline := time.After(grace)
	var waiting []*child
	for _, name := range names {
		if child := c.find(name); child != nil {
			_ = child.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
			waiting = append(waiting, child)
		}
	}
	for _, child := range waiting {
		select {
		case <-child.ended:
		case <-deadline:
			deadline = closedTimer()
			_ = child.cmd.Process.Kill()
			<-child.ended
		}
	}
}

// endAll kills whatever still runs.
func (c *children) endAll() error {
	c.mu.Lock()
	var all []*child
	for _, child := range c.byName {
		all = append(all, child)
	}
	c.mu.Unlock()
	for _, child := range all {
		_ = child.cmd.Process.Kill() // it may have ended already
		select {
		case <-child.ended:
		case <-time.After(5 * time.Second):
			return fmt.Errorf("%s (process %d) does not end", child.name, child.cmd.Process.Pid)
		}
	}
	return nil
}

func closedTimer() <-chan time.Time {
	passed := make(chan time.Time)
	close(passed)
	return passed
}

// waitReady asks a process again and again until it is ready, has ended or has had its time.
func (ch *child) waitReady(ctx context.Context, limit time.Duration, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := errors.New("it was not asked yet")
	for {
		attempt, done := context.WithTimeout(ctx, 5*time.Second)
		err := probe(attempt)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ch.ended:
			return fmt.Errorf("%s ended before it was ready: %v\n%s", ch.name, ch.cmd.ProcessState, logTail(ch.log))
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return ctx.Err() // another part failed: that is the error to show
			}
			return fmt.Errorf("%s was not ready after %s: %w\n%s", ch.name, limit, last, logTail(ch.log))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// logTail returns the end of a log, indented, under its name.
func logTail(path string) string {
	const lines = 25
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return fmt.Sprintf("the end of %s:\n    %s", path, strings.Join(all, "\n    "))
}

// parallel runs functions side by side, tells the others when one fails, and returns the first error once all ended.
func parallel(ctx context.Context, functions ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error)
	for _, function := range functions {
		go func() { errs <- function(ctx) }()
	}
	var first error
	for range functions {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// node is the name of the node that runs, or empty.
func (c *children) node() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Node
}
