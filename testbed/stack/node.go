package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// nodeName is also the host name under which the API server reaches the kubelet, which listens on this machine alone.
const nodeName = "localhost"

// sandboxImage holds the pod's namespaces; `images sandbox` makes it.
const sandboxImage = "testbed.local/sandbox:1"

// nodeNamespaces is what the node gets for itself. All its processes, containers included, end with the first one,
// and its mounts with them: the kernel cleans up after it, however it ends.
const nodeNamespaces = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS

// startNode starts a node unless it is not wanted or, in mode auto, not possible.
func (s *stack) startNode(ctx context.Context) error {
	if s.options.node == nodeOff {
		return nil
	}
	obstacle := nodeObstacle(s.layout)
	if obstacle == nil {
		obstacle = s.runNode(ctx)
	}
	switch {
	case obstacle == nil:
		s.say("node %s with kubelet, containerd and runc", nodeName)
		return s.children.update(func(st *state) { st.Node = nodeName })
	case ctx.Err() != nil:
		return ctx.Err()
	case s.options.node == nodeRequire:
		return fmt.Errorf("no node: %w", obstacle)
	}
	s.say("no node: %v", obstacle)
	first, _, _ := strings.Cut(obstacle.Error(), "\n")
	err := s.children.update(func(st *state) { st.NodeNote = first })
	if err != nil {
		return err
	}
	return s.stopNode()
}

// nodeObstacle is why this machine can't have a node, or nil.
func nodeObstacle(l layout) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("it takes root")
	}
	var missing []string
	for _, name := range nodePrograms {
		if !isExecutable(l.program(name)) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("programs are missing (%s): run testbed/scripts/build node", strings.Join(missing, ", "))
	}
	for _, root := range cgroupRoots() {
		const writable = 2 // W_OK of access(2)
		if err := syscall.Access(root, writable); err != nil {
			return fmt.Errorf("control groups can't be written: %s: %w", root, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	probe := exec.Command(self, nodeProbeCommand)
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: nodeNamespaces}
	if output, err := probe.CombinedOutput(); err != nil {
		return fmt.Errorf("this machine does not let it have namespaces of its own: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}

// runNode starts the node's processes and waits until the node is there.
func (s *stack) runNode(ctx context.Context) error {
	cgroup := "ecr-operator-testbed-" + hex.EncodeToString(randomBytes(4))
	if err := s.children.update(func(st *state) { st.Cgroup = cgroup }); err != nil {
		return err
	}
	if err := makeCgroup(cgroup); err != nil {
		return err
	}
	if err := s.writeNodeFiles(cgroup); err != nil {
		return err
	}
	if err := s.images(ctx, "sandbox", "--output", s.layout.node("sandbox.tar")); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, nodeInitCommand, "--run-dir", s.layout.dir)
	cmd.Env = []string{"PATH=" + nodeDir + "/bin:" + os.Getenv("PATH"), "HOME=" + nodeDir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: nodeNamespaces}
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	node, err := s.children.run("node", cmd)
	if err != nil {
		return err
	}
	select {
	case <-s.apiReady:
	case <-node.ended:
		return fmt.Errorf("it ended while it started\n%s\n%s", logTail(node.log), logTail(s.layout.log("containerd")))
	case <-ctx.Done():
		return ctx.Err()
	}
	s.ports.release(portKubelet, portKubeletHealth)
	if _, err := io.WriteString(input, nodeGo); err != nil {
		return fmt.Errorf("it ended while it started: %w\n%s\n%s", err, logTail(node.log), logTail(s.layout.log("containerd")))
	}
	if err := node.waitReady(ctx, startLimit, s.nodeRegistered); err != nil {
		return fmt.Errorf("%w\n%s", err, logTail(s.layout.log("kubelet")))
	}
	return nil
}

// nodeRegistered is whether the node is known with a working container runtime. It never becomes Ready: it has no
// network for pods, and pods on the host's network don't need one.
func (s *stack) nodeRegistered(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.apiServer()+"/api/v1/nodes/"+nodeName, nil)
	if err != nil {
		return err
	}
	response, err := s.kube.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the node is not registered: %s", response.Status)
	}
	var node struct {
		Status struct {
			NodeInfo struct {
				ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
			} `json:"nodeInfo"`
		} `json:"status"`
	}
	if err := json.NewDecoder(response.Body).Decode(&node); err != nil {
		return fmt.Errorf("read the node: %w", err)
	}
	if !strings.HasPrefix(node.Status.NodeInfo.ContainerRuntimeVersion, "containerd://") {
		return fmt.Errorf("the node knows no container runtime yet")
	}
	return nil
}

// stopNode ends the node and all that ran on it.
func (s *stack) stopNode() error {
	if node := s.children.find("node"); node != nil {
		_ = node.cmd.Process.Kill() // it may have ended already
		<-node.ended
	}
	s.children.mu.Lock()
	cgroup := s.children.state.Cgroup
	s.children.mu.Unlock()
	return removeCgroup(cgroup)
}
