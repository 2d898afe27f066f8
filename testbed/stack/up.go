package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// The supervisor's reports on its pipe to `up`, one a line: what goes on, and at last how it ended.
const (
	reportProgress = "progress "
	reportReady    = "ready"
	reportFailed   = "failed "
)

// reportPipe is the file descriptor that the supervisor writes its reports to.
const reportPipe = 3

// up starts the supervisor, detached, and returns when the stack is ready or has failed.
func up(args []string) error {
	options, err := parseUp("up", args)
	if err != nil {
		return err
	}
	l := options.layout
	previous, err := readState(l)
	if err != nil {
		return err
	}
	if previous != nil {
		if previous.Supervisor.alive() {
			return fmt.Errorf("a stack runs in %s (process %d): 'stack down' stops it, --run-dir starts another one", l.dir, previous.Supervisor.PID)
		}
		if err := clean(l, previous); err != nil {
			return fmt.Errorf("clean up after a stack that was not stopped: %w", err)
		}
	}
	if err := l.prepare(); err != nil {
		return err
	}
	started := time.Now()
	if err := runSupervisor(l, args); err != nil {
		return err
	}
	fmt.Printf("the stack is up after %.1f s; use it with: . %s\n", time.Since(started).Seconds(), l.env())
	return nil
}

func runSupervisor(l layout, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(l.log("stack"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the supervisor's log: %w", err)
	}
	defer log.Close()
	reports, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer reports.Close()

	// Caught from here on: an interrupt stops what has been started.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)

	cmd := exec.Command(self, append([]string{superviseCommand}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	write.Close()
	go func() {
		for range interrupts {
			fmt.Fprintln(os.Stderr, "stopping")
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}()

	err = followReports(reports, l)
	if err != nil {
		_ = cmd.Wait() // it stops everything before it ends
	}
	return err
}

// followReports prints progress until the supervisor is ready (nil), has failed or has ended.
func followReports(reports *os.File, l layout) error {
	lines := bufio.NewReader(reports)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("the supervisor ended\n%s", logTail(l.log("stack")))
		}
		line = strings.TrimSuffix(line, "\n")
		if text, found := strings.CutPrefix(line, reportProgress); found {
			fmt.Println(text)
		} else if text, found := strings.CutPrefix(line, reportFailed); found {
			return errors.New(strings.ReplaceAll(text, "\x00", "\n"))
		} else if line == reportReady {
			return nil
		}
	}
}
