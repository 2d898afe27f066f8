package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// The programs of testbed/bin that the stack can't do without, and those that a node takes.
var (
	corePrograms = []string{"kube-apiserver", "etcd", "kube-controller-manager", "kubectl", "hub", "images", "aws", "helm"}
	nodePrograms = []string{"kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc"}
)

// checkout is the copy of the project that this program belongs to.
type checkout struct{ root string }

func (c checkout) testbed() string { return filepath.Join(c.root, "testbed") }

// findCheckout goes by where this program lies: testbed/bin.
func findCheckout() (checkout, error) {
	self, err := os.Executable()
	if err != nil {
		return checkout{}, fmt.Errorf("can't tell where this program lies: %w", err)
	}
	bin := filepath.Dir(self)
	if filepath.Base(bin) != "bin" || filepath.Base(filepath.Dir(bin)) != "testbed" {
		return checkout{}, fmt.Errorf("%s lies outside testbed/bin: testbed/scripts/build stack puts it there", self)
	}
	return checkout{root: filepath.Dir(filepath.Dir(bin))}, nil
}

// layout names the files of one run directory. Paths are absolute.
type layout struct {
	checkout
	dir string
}

func newLayout(where checkout, dir string) (layout, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return layout{}, fmt.Errorf("--run-dir %s: %w", dir, err)
	}
	return layout{checkout: where, dir: absolute}, nil
}

func (l layout) program(name string) string { return filepath.Join(l.testbed(), "bin", name) }
func (l layout) log(name string) string     { return filepath.Join(l.dir, "logs", name+".log") }
func (l layout) pki(name string) string     { return filepath.Join(l.dir, "pki", name) }
func (l layout) data(name string) string    { return filepath.Join(l.dir, "data", name) }

// home is the home directory of the command line tools that the stack runs, so that their caches stay here.
func (l layout) home() string { return filepath.Join(l.dir, "home") }

// node holds what the node needs; inside the node's mount namespace it is nodeDir.
func (l layout) node(name string) string { return filepath.Join(l.dir, "node", name) }

func (l layout) lock() string               { return filepath.Join(l.dir, "lock") }
func (l layout) state() string              { return filepath.Join(l.dir, "stack.json") }
func (l layout) env() string                { return filepath.Join(l.dir, "env") }
func (l layout) caBundle() string           { return filepath.Join(l.dir, "ca-bundle.pem") }
func (l layout) kubeconfig() string         { return filepath.Join(l.dir, "kubeconfig") }
func (l layout) operatorKubeconfig() string { return filepath.Join(l.dir, "operator.kubeconfig") }
func (l layout) registriesConfig() string   { return filepath.Join(l.dir, "registries.yaml") }

// leftovers are the files that `down` removes: all but the logs and the lock.
func (l layout) leftovers() []string {
	return []string{
		filepath.Join(l.dir, "pki"), filepath.Join(l.dir, "data"), filepath.Join(l.dir, "node"), l.home(),
		l.env(), l.caBundle(), l.kubeconfig(), l.operatorKubeconfig(), l.registriesConfig(), l.state(),
	}
}

// prepare makes the directories of a new run. They hold keys: nobody else may look.
func (l layout) prepare() error {
	if err := os.RemoveAll(filepath.Join(l.dir, "logs")); err != nil {
		return fmt.Errorf("remove the logs of the last run: %w", err)
	}
	for _, dir := range []string{l.dir, filepath.Join(l.dir, "logs"), filepath.Join(l.dir, "pki"), filepath.Join(l.dir, "data"), l.home()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the run directory: %w", err)
		}
	}
	return os.Chmod(l.dir, 0o700)
}
