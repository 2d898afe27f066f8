package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// nodeDir is where the node sees its files; its sockets and state are below /run and /var/lib, which are its own too.
const nodeDir = "/run/testbed"

// writeNodeFiles writes the configuration of containerd and kubelet below DIR/node.
func (s *stack) writeNodeFiles(cgroup string) error {
	ca := s.authority.pem
	identity, err := s.authority.client("system:node:"+nodeName, "system:nodes")
	if err != nil {
		return err
	}
	server, err := s.authority.server()
	if err != nil {
		return err
	}
	for _, dir := range []string{"bin", "kubelet", "containerd"} {
		if err := os.MkdirAll(s.layout.node(dir), 0o755); err != nil {
			return fmt.Errorf("make the node's directories: %w", err)
		}
	}
	// On most systems this is a link into a directory that the node does not see.
	resolvConf, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		resolvConf = nil // a machine without name servers: its pods have none either
	}
	files := map[string][]byte{
		s.layout.node("ca.pem"):             ca,
		s.layout.node("server.pem"):         server.certificate,
		s.layout.node("server.key"):         server.key,
		s.layout.node("resolv.conf"):        resolvConf,
		s.layout.node("kubelet.kubeconfig"): certificateKubeconfig(s.apiServer(), ca, identity),
		s.layout.node("kubelet.yaml"):       kubeletConfig(s.ports.port(portKubelet), s.ports.port(portKubeletHealth), cgroup),
		s.layout.node("containerd.toml"):    containerdConfig(snapshotter(s.layout.dir)),
	}
	for _, registry := range []string{s.ports.address(portAWSRegistry), s.ports.address(portHub)} {
		dir := s.layout.node(filepath.Join("certs.d", registry))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the node's directories: %w", err)
		}
		files[filepath.Join(dir, "hosts.toml")] = fmt.Appendf(nil, "server = \"https://%s\"\n\n[host.\"https://%s\"]\n  ca = \"%s/ca.pem\"\n",
			registry, registry, nodeDir)
	}
	return writeFiles(files)
}

// snapshotter is how containerd lays an image's layers over one another: by overlayfs, which can't lie on itself.
func snapshotter(dir string) string {
	const overlayMagic = 0x794c7630 // OVERLAYFS_SUPER_MAGIC of statfs(2)
	var filesystem syscall.Statfs_t
	if err := syscall.Statfs(dir, &filesystem); err == nil && filesystem.Type == overlayMagic {
		return "native"
	}
	return "overlayfs"
}

func containerdConfig(snapshotter string) []byte {
	return fmt.Appendf(nil, `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "%[1]s"

  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "%[2]s"

  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "%[3]s/certs.d"

[plugins."io.containerd.cri.v1.runtime"]
  # Where CAP_SYS_RESOURCE is missing, runc could not lower a container's score below containerd's own.
  restrict_oom_score_adj = true

  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"

    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "%[3]s/bin/runc"
        SystemdCgroup = false
`, snapshotter, sandboxImage, nodeDir)
}

func kubeletConfig(port, healthPort int, cgroup string) []byte {
	return fmt.Appendf(nil, `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: %[1]d
healthzBindAddress: 127.0.0.1
healthzPort: %[2]d
tlsCertFile: %[3]s/server.pem
tlsPrivateKeyFile: %[3]s/server.key
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[3]s/ca.pem}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: %[3]s/resolv.conf
# Control groups as this machine has them, all of the node's below one that is removed with it.
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%[4]s
cgroupsPerQOS: true
enforceNodeAllocatable: []
failSwapOn: false
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
# The node is small and short-lived: it neither evicts pods nor collects images, however full the disk is.
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: "0%%"
  nodefs.available: "0%%"
  nodefs.inodesFree: "0%%"
  imagefs.available: "0%%"
  imagefs.inodesFree: "0%%"
  pid.available: "0%%"
`, port, healthPort, nodeDir, cgroup)
}
