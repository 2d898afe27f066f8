package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// The hidden commands that run as the first process of the node's namespaces.
const (
	nodeInitCommand  = "node-init"
	nodeProbeCommand = "node-probe"
)

// nodeGo tells the node that the API server answers.
const nodeGo = "go\n"

const containerdSocket = "/run/containerd/containerd.sock"

// nodeInit runs the node: it is process 1 of a PID namespace, and when it ends the kernel ends all others there.
func nodeInit(args []string) error {
	l, _, err := parseRunDir(nodeInitCommand, args)
	if err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return errors.New("node-init is a part of 'stack up'")
	}
	containerdLog, err := openLog(l.log("containerd"))
	if err != nil {
		return err
	}
	kubeletLog, err := openLog(l.log("kubelet"))
	if err != nil {
		return err
	}
	if err := isolate(l); err != nil {
		return err
	}
	processes := newReaper()
	containerd, err := processes.start(containerdLog, nodeDir+"/bin/containerd", "--config", nodeDir+"/containerd.toml")
	if err != nil {
		return err
	}
	if err := waitForContainerd(containerd); err != nil {
		return err
	}
	if err := importSandbox(processes, containerdLog); err != nil {
		return err
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return fmt.Errorf("wait for the API server: %w", err)
	}
	kubelet, err := processes.start(kubeletLog, nodeDir+"/bin/kubelet",
		"--config", nodeDir+"/kubelet.yaml",
		"--kubeconfig", nodeDir+"/kubelet.kubeconfig",
		"--hostname-override", nodeName)
	if err != nil {
		return err
	}
	select {
	case how := <-containerd:
		return fmt.Errorf("containerd %s", describe(how))
	case how := <-kubelet:
		return fmt.Errorf("kubelet %s", describe(how))
	}
}

func openLog(path string) (*os.File, error) {
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	return log, nil
}

func waitForContainerd(containerd <-chan syscall.WaitStatus) error {
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); {
		select {
		case how := <-containerd:
			return fmt.Errorf("containerd %s; its log says why", describe(how))
		case <-time.After(50 * time.Millisecond):
		}
		if connection, err := net.Dial("unix", containerdSocket); err == nil {
			return connection.Close()
		}
	}
	return fmt.Errorf("containerd does not listen on %s after %s", containerdSocket, startLimit)
}

func importSandbox(processes *reaper, log *os.File) error {
	imported, err := processes.start(log, nodeDir+"/bin/ctr", "--address", containerdSocket,
		"--namespace", "k8s.io", "images", "import", nodeDir+"/sandbox.tar")
	if err != nil {
		return err
	}
	if how := <-imported; how.ExitStatus() != 0 {
		return fmt.Errorf("import the sandbox image: ctr %s; containerd's log says why", describe(how))
	}
	return nil
}

// isolate gives the node its own /run, /var/lib and /var/log, with the files of DIR/node in them, and its own /proc.
// It neither sees nor touches a container runtime or kubelet of the machine.
func isolate(l layout) error {
	if err := privateMounts(); err != nil {
		return err
	}
	// Opened first: a run directory may itself lie below one of the directories that are covered now.
	files, err := os.Open(l.node(""))
	if err != nil {
		return fmt.Errorf("open the node's files: %w", err)
	}
	defer files.Close()
	programs, err := os.Open(l.program(""))
	if err != nil {
		return fmt.Errorf("open the node's programs: %w", err)
	}
	defer programs.Close()
	for _, dir := range []string{"/run", "/var/lib", "/var/log"} {
		if err := mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return err
		}
	}
	for _, bind := range [][2]string{
		{fmt.Sprintf("/proc/self/fd/%d", files.Fd()), nodeDir},
		{fmt.Sprintf("/proc/self/fd/%d", programs.Fd()), nodeDir + "/bin"},
		{nodeDir + "/kubelet", "/var/lib/kubelet"},
		{nodeDir + "/containerd", "/var/lib/containerd"},
	} {
		if err := os.MkdirAll(bind[1], 0o755); err != nil {
			return fmt.Errorf("make a mount point: %w", err)
		}
		if err := mount(bind[0], bind[1], "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return err
	}
	// Containers see what kubelet mounts after their start; nothing leaves the node's namespace.
	return mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, "")
}

func privateMounts() error {
	return mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

// nodeProbe tries what the node needs, in namespaces that end with it.
func nodeProbe() error {
	if os.Getpid() != 1 {
		return errors.New("node-probe is a part of 'stack up'")
	}
	if err := privateMounts(); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	return mount("proc", "/proc", "proc", 0, "")
}

func describe(how syscall.WaitStatus) string {
	if how.Signaled() {
		return "was ended by signal " + strings.ToLower(how.Signal().String())
	}
	return fmt.Sprintf("ended with status %d", how.ExitStatus())
}
