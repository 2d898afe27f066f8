package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// stopLimit is how long `down` waits for the supervisor to stop everything in order.
const stopLimit = 30 * time.Second

// down stops the stack of a run directory and what a crash may have left of it. Doing it again does no harm.
func down(args []string) error {
	l, rest, err := parseRunDir("down", args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	s, err := readState(l)
	if err != nil {
		return err
	}
	if s == nil {
		fmt.Printf("no stack runs in %s\n", l.dir)
		return nil
	}
	started := time.Now()
	if s.Supervisor.alive() {
		if err := syscall.Kill(s.Supervisor.PID, syscall.SIGTERM); err != nil {
			return fmt.Errorf("stop the supervisor (process %d): %w", s.Supervisor.PID, err)
		}
		if !waitUntil(stopLimit, func() bool { return !s.Supervisor.alive() }) {
			fmt.Fprintf(os.Stderr, "the supervisor did not stop within %s and is killed; the end of its log:\n%s\n", stopLimit, logTail(l.log("stack")))
			_ = syscall.Kill(s.Supervisor.PID, syscall.SIGKILL)
		}
		// Read again: it may have started more since.
		if latest, err := readState(l); err == nil && latest != nil {
			s = latest
		}
	}
	if err := clean(l, s); err != nil {
		return err
	}
	fmt.Printf("the stack is down after %.1f s; its logs are in %s\n", time.Since(started).Seconds(), l.log("*"))
	return nil
}

// clean ends what is left of a stack whose supervisor is gone, and removes its files.
func clean(l layout, s *state) error {
	for _, child := range s.Children {
		if child.Process.alive() {
			// It was told to die with its supervisor; this is for the moment in between.
			_ = syscall.Kill(child.Process.PID, syscall.SIGKILL)
		}
		if !waitUntil(5*time.Second, func() bool { return !child.Process.alive() }) {
			return fmt.Errorf("%s (process %d) does not end", child.Name, child.Process.PID)
		}
	}
	return errors.Join(removeCgroup(s.Cgroup), removeLeftovers(l))
}

// removeLeftovers removes all files of a run but its logs. The state goes last: as long as it is there, `down` has
// something to do.
func removeLeftovers(l layout) error {
	for _, path := range l.leftovers() {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove the files of the stack: %w", err)
		}
	}
	return nil
}

func waitUntil(limit time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// status prints the processes of a stack. It fails where the stack is not up.
func status(args []string) error {
	l, _, err := parseRunDir("status", args)
	if err != nil {
		return err
	}
	s, err := readState(l)
	if err != nil {
		return err
	}
	if s == nil {
		return fmt.Errorf("no stack runs in %s", l.dir)
	}
	condition := "up"
	switch {
	case !s.Supervisor.alive():
		condition = "crashed; 'stack down' cleans up"
	case !s.Ready:
		condition = "starting"
	}
	fmt.Printf("%-26s %8s  %s\n", "supervisor", fmt.Sprint(s.Supervisor.PID), condition)
	for _, child := range s.Children {
		condition := "running"
		if !child.Process.alive() {
			condition = "ended"
			if child.Ended != "" {
				condition = "ended: " + child.Ended
			}
		}
		fmt.Printf("%-26s %8d  %s\n", child.Name, child.Process.PID, condition)
	}
	if s.NodeNote != "" {
		fmt.Printf("%-26s %8s  %s\n", "node", "-", s.NodeNote)
	}
	if !s.Supervisor.alive() {
		return errors.New("the supervisor is gone")
	}
	return nil
}

// logs prints the log of one process.
func logs(args []string) error {
	l, rest, err := parseRunDir("logs", args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return errors.New("usage: stack logs [--run-dir DIR] NAME; 'stack status' shows the names")
	}
	content, err := os.ReadFile(l.log(rest[0]))
	if err != nil {
		return fmt.Errorf("no log of %s: %w", rest[0], err)
	}
	_, err = os.Stdout.Write(content)
	return err
}
