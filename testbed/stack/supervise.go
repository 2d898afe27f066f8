package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// superviseCommand is the hidden command that `up` runs detached.
const superviseCommand = "supervise"

// supervise starts the stack, holds it until it is told to stop, and stops it.
func supervise(args []string) error {
	pipe := os.NewFile(reportPipe, "reports")
	report := func(kind, text string) {
		// The reader may be gone; the log has it all the same.
		fmt.Fprintf(pipe, "%s%s\n", kind, strings.ReplaceAll(text, "\n", "\x00"))
		fmt.Fprintf(os.Stderr, "%s %s%s\n", time.Now().Format(time.TimeOnly), kind, text)
	}
	syscall.CloseOnExec(reportPipe)

	options, err := parseUp(superviseCommand, args)
	if err != nil {
		report(reportFailed, err.Error())
		return err
	}
	unlock, err := lockRunDir(options.layout)
	if err != nil {
		report(reportFailed, err.Error())
		return err
	}
	defer unlock()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	all, err := newChildren(options.layout)
	if err != nil {
		report(reportFailed, err.Error())
		return err
	}
	begun := time.Now()
	s := &stack{options: options, layout: options.layout, children: all, say: func(format string, values ...any) {
		report(reportProgress, fmt.Sprintf("%5.1f s  ", time.Since(begun).Seconds())+fmt.Sprintf(format, values...))
	}}

	err = s.start(ctx)
	if err == nil {
		err = all.update(func(st *state) { st.Ready = true })
	}
	if err == nil {
		report(reportReady, "")
		pipe.Close()
		<-ctx.Done()
	} else if ctx.Err() != nil {
		err = errors.New("stopped before it was ready")
	}
	stopErr := errors.Join(s.stop(), removeLeftovers(options.layout))
	if err != nil {
		report(reportFailed, err.Error())
	}
	return errors.Join(err, stopErr)
}

// lockRunDir keeps two supervisors from sharing a run directory.
func lockRunDir(l layout) (unlock func(), err error) {
	file, err := os.OpenFile(l.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the run directory's lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("another stack uses %s: %w", l.dir, err)
	}
	return func() { file.Close() }, nil
}
