package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var (
	//go:embed hello/main.go
	helloSource []byte
	//go:embed pause/main.go
	pauseSource []byte
)

// shell is a shell in Go, for machines where Debian's busybox can't be had.
const shell = "mvdan.cc/sh/v3/cmd/gosh@v3.14.1"

// compile builds a program of one source file, without cgo and so without libraries.
func compile(ctx context.Context, source []byte, platform v1.Platform) ([]byte, error) {
	directory, err := os.MkdirTemp("", "images-")
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	defer os.RemoveAll(directory)
	for name, content := range map[string][]byte{"main.go": source, "go.mod": []byte("module program\n\ngo 1.24\n")} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			return nil, fmt.Errorf("compile: %w", err)
		}
	}
	output := filepath.Join(directory, "program")
	command := goCommand(ctx, platform, "build", "-o", output)
	command.Dir = directory
	if said, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile for %s: %w: %s", platform, err, said)
	}
	return os.ReadFile(output)
}

// compileShell builds a shell from its Go module.
func compileShell(ctx context.Context, platform v1.Platform) ([]byte, error) {
	directory, err := os.MkdirTemp("", "images-")
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", shell, err)
	}
	defer os.RemoveAll(directory)
	modules, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOMODCACHE: %w", err)
	}
	// go install puts foreign programs below GOPATH, and into no GOBIN; downloads go where they always do.
	command := goCommand(ctx, platform, "install", shell)
	command.Dir = directory
	command.Env = append(command.Env, "GOBIN=", "GOPATH="+directory, "GOMODCACHE="+strings.TrimSpace(string(modules)))
	if said, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s for %s: %w: %s", shell, platform, err, said)
	}
	for _, place := range []string{"bin", filepath.Join("bin", platform.OS+"_"+platform.Architecture)} {
		if program, err := os.ReadFile(filepath.Join(directory, place, "gosh")); err == nil {
			return program, nil
		}
	}
	return nil, fmt.Errorf("compile %s for %s: no program came out", shell, platform)
}

func goCommand(ctx context.Context, platform v1.Platform, verb string, args ...string) *exec.Cmd {
	args = append([]string{verb, "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}, args...)
	command := exec.CommandContext(ctx, "go", args...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	return command
}
