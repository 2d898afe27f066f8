package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOfAChartOnlyTheAskedKindsAreKept(t *testing.T) {
	stream := `---
# Source: x/templates/a.yaml
apiVersion: v1
kind: ServiceAccount
metadata:
  name: a
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: b
spec:
  template:
    # a kind that is not the document's
    kind: Role
---

kind: "ClusterRole"
metadata:
  name: c
`
	selected := string(selectKinds(stream, rbacKinds))
	for _, want := range []string{"name: a", "name: c"} {
		if !strings.Contains(selected, want) {
			t.Errorf("%q is missing in\n%s", want, selected)
		}
	}
	if strings.Contains(selected, "Deployment") {
		t.Errorf("the Deployment was kept in\n%s", selected)
	}
}

func TestAQuotedValueComesOutOfAShellUnchanged(t *testing.T) {
	for _, value := range []string{"", "plain", "it's", `$HOME "x" \`, "a\nb"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(value)).Output()
		if err != nil || string(out) != value {
			t.Errorf("%q became %q (%v)", value, out, err)
		}
	}
}

func TestAProcessIsKnownByMoreThanItsNumber(t *testing.T) {
	self, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.alive() {
		t.Error("this process is said to be gone")
	}
	if (process{PID: self.PID, Started: self.Started + 1}).alive() {
		t.Error("another process with the same number is said to be this one")
	}
}

func TestAReservedBlockOfPortsIsNobodyElses(t *testing.T) {
	first, err := reservePorts("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	base := first.guard.Addr().(*net.TCPAddr).Port
	first.releaseAll()
	if _, err := reserveBlock(base, []string{"a"}); err == nil {
		t.Error("a block was given away while its owner runs, its ports released")
	}
	first.guard.Close()
	second, err := reserveBlock(base, []string{"a"})
	if err != nil {
		t.Fatalf("a block is not free after its owner ended: %v", err)
	}
	second.releaseAll()
	second.guard.Close()
}

func TestServersAndClientsOfTheTestCATrustEachOther(t *testing.T) {
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.client("someone", "group")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tlsClient(ca.pem, client); err != nil {
		t.Error(err)
	}
	server, err := ca.server()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tlsClient(ca.pem, server); err != nil {
		t.Error(err)
	}
}

func testChildren(t *testing.T) *children {
	t.Helper()
	l, err := newLayout(checkout{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.prepare(); err != nil {
		t.Fatal(err)
	}
	c, err := newChildren(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.endAll() })
	return c
}

func TestAProcessThatEndsBeforeItIsReadyShowsItsLog(t *testing.T) {
	c := testChildren(t)
	failing, err := c.run("failing", exec.Command("sh", "-c", "echo no such thing >&2; exit 7"))
	if err != nil {
		t.Fatal(err)
	}
	never := func(context.Context) error { return errors.New("not yet") }
	err = failing.waitReady(context.Background(), time.Minute, never)
	if err == nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("the error does not say why: %v", err)
	}
}

func TestAProcessThatIgnoresTheRequestToStopIsKilled(t *testing.T) {
	c := testChildren(t)
	stubborn, err := c.run("stubborn", exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"))
	if err != nil {
		t.Fatal(err)
	}
	ready := func(context.Context) error {
		if content, _ := os.ReadFile(stubborn.log); len(content) == 0 {
			return errors.New("not yet")
		}
		return nil
	}
	if err := stubborn.waitReady(context.Background(), time.Minute, ready); err != nil {
		t.Fatal(err)
	}
	c.stop(50*time.Millisecond, "stubborn", "one that never started")
	if status := stubborn.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("it ended by %v", status)
	}
	s, err := readState(c.layout)
	if err != nil || len(s.Children) != 1 || s.Children[0].Ended == "" {
		t.Errorf("the state does not say that it ended: %+v, %v", s, err)
	}
}

func TestTheFirstFailureStopsWhatRunsBesideIt(t *testing.T) {
	failure := errors.New("failed")
	err := parallel(context.Background(),
		func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		func(context.Context) error { return failure })
	if !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}

func TestAllFilesOfARunButItsLogsAreRemoved(t *testing.T) {
	c := testChildren(t)
	if err := writeFile(c.layout.env(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(c.layout.log("x"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := removeLeftovers(c.layout); err != nil {
		t.Fatal(err)
	}
	entries, err := filepath.Glob(filepath.Join(c.layout.dir, "*"))
	if err != nil || len(entries) != 1 || filepath.Base(entries[0]) != "logs" {
		t.Errorf("left: %v (%v)", entries, err)
	}
}

func TestAnOptionNeedsItsInputs(t *testing.T) {
	l, err := newLayout(checkout{root: t.TempDir()}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	err = options{layout: l, operator: "/nowhere", chart: "/nowhere", crds: "/nowhere"}.checkInputs()
	if err == nil {
		t.Fatal("a stack without programs was accepted")
	}
	for _, want := range []string{"kube-apiserver", "Helm chart", "CustomResourceDefinitions", "operator"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q: %v", want, err)
		}
	}
}
