package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// state is what DIR/stack.json tells the other commands.
type state struct {
	Supervisor process `json:"supervisor"`
	// Ready is set once everything that was asked for runs.
	Ready bool `json:"ready"`
	// Node is the name of the node, or empty; NodeNote says why there is none.
	Node     string `json:"node,omitempty"`
	NodeNote string `json:"nodeNote,omitempty"`
	// Cgroup is the cgroup, below the root of every hierarchy, that holds the node's containers.
	Cgroup   string         `json:"cgroup,omitempty"`
	Children []childProcess `json:"children"`
}

type childProcess struct {
	Name    string  `json:"name"`
	Process process `json:"process"`
	Log     string  `json:"log"`
	// Ended says how the process ended, and is empty while it runs.
	Ended string `json:"ended,omitempty"`
}

// process names one process for good: the kernel gives a process id to another process later, but not with that start.
type process struct {
	PID int `json:"pid"`
	// Started is in clock ticks since the machine booted (proc_pid_stat(5), field 22).
	Started uint64 `json:"started"`
}

func identify(pid int) (process, error) {
	_, started, err := readStat(pid)
	return process{PID: pid, Started: started}, err
}

// alive is whether this very process runs. A zombie does not.
func (p process) alive() bool {
	if p.PID == 0 {
		return false
	}
	status, started, err := readStat(p.PID)
	return err == nil && started == p.Started && status != "Z"
}

func readStat(pid int) (status string, started uint64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	// The second field is a name in parentheses that may itself hold spaces and parentheses.
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	if len(fields) < 20 {
		return "", 0, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	started, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0], started, err
}

// readState returns the state of a run directory, and nil where nothing was started.
func readState(l layout) (*state, error) {
	content, err := os.ReadFile(l.state())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the stack's state: %w", err)
	}
	s := &state{}
	if err := json.Unmarshal(content, s); err != nil {
		return nil, fmt.Errorf("read the stack's state in %s: %w", l.state(), err)
	}
	return s, nil
}

// write replaces the state as a whole: readers never see half of it.
func (s *state) write(l layout) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the stack's state: %w", err)
	}
	if err := writeFile(l.state()+".new", append(content, '\n')); err != nil {
		return err
	}
	return os.Rename(l.state()+".new", l.state())
}
