package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// reaper starts the processes of process 1 and waits for all of them, those included that were orphaned to it: every
// container's shim is. That is why it does without os/exec, whose Wait would wait for the same processes.
type reaper struct {
	mu      sync.Mutex
	started map[int]chan syscall.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{started: map[int]chan syscall.WaitStatus{}}
	go r.reap()
	return r
}

// start starts a program. How it ends comes on the channel.
func (r *reaper) start(log *os.File, path string, args ...string) (<-chan syscall.WaitStatus, error) {
	// Held until the process is known: it may end at once.
	r.mu.Lock()
	defer r.mu.Unlock()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec(path, append([]string{path}, args...), &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	r.started[pid] = ended
	return ended, nil
}

func (r *reaper) reap() {
	for {
		var how syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &how, 0, nil)
		if errors.Is(err, syscall.ECHILD) {
			time.Sleep(10 * time.Millisecond) // nothing was started yet
			continue
		}
		if err != nil {
			continue // interrupted by a signal
		}
		r.mu.Lock()
		ended, known := r.started[pid]
		delete(r.started, pid)
		r.mu.Unlock()
		if known {
			ended <- how
		}
	}
}
