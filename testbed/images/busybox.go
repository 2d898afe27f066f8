package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// busyboxIndex builds library/busybox: Debian's static busybox, or where it can't be had a shell in Go.
func busyboxIndex(ctx context.Context) (v1.ImageIndex, error) {
	programs, err := debianBusybox(ctx)
	if err != nil {
		log.Printf("no busybox from Debian, so library/busybox is a shell in Go: %v", err)
		return shellIndex(ctx)
	}
	applets, err := applets(ctx, programs[runtime.GOARCH])
	if err != nil {
		return nil, err
	}
	base, err := layer(oci.layer, baseFiles()...)
	if err != nil {
		return nil, err
	}
	return oci.platformIndex(demoPlatforms, func(platform v1.Platform) (v1.Image, error) {
		files := []file{
			{name: "bin/", mode: 0o755},
			{name: "bin/busybox", mode: 0o755, body: programs[platform.Architecture]},
		}
		for _, applet := range applets {
			files = append(files, file{name: "bin/" + applet, mode: 0o777, target: "busybox"})
		}
		binaries, err := layer(oci.layer, files...)
		if err != nil {
			return nil, err
		}
		return oci.image(platform, shellConfig, base, binaries)
	})
}

func shellIndex(ctx context.Context) (v1.ImageIndex, error) {
	base, err := layer(oci.layer, baseFiles()...)
	if err != nil {
		return nil, err
	}
	return oci.platformIndex(demoPlatforms, func(platform v1.Platform) (v1.Image, error) {
		program, err := compileShell(ctx, platform)
		if err != nil {
			return nil, err
		}
		binaries, err := layer(oci.layer, file{name: "bin/", mode: 0o755}, file{name: "bin/sh", mode: 0o755, body: program})
		if err != nil {
			return nil, err
		}
		return oci.image(platform, shellConfig, base, binaries)
	})
}

var shellConfig = v1.Config{
	Env: []string{"PATH=/bin"},
	Cmd: []string{"sh"},
}

// debianBusybox downloads the package busybox-static for each architecture and gives the programs by architecture.
// It keeps apt's state in a directory of its own, so that it needs no root and changes nothing.
func debianBusybox(ctx context.Context) (map[string][]byte, error) {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, err
		}
	}
	programs := map[string][]byte{}
	for _, platform := range demoPlatforms {
		// Debian names both of our architectures as Go does.
		program, err := debianProgram(ctx, platform.Architecture)
		if err != nil {
			return nil, err
		}
		programs[platform.Architecture] = program
	}
	return programs, nil
}

func debianProgram(ctx context.Context, architecture string) ([]byte, error) {
	state, err := os.MkdirTemp("", "images-apt-")
	if err != nil {
		return nil, fmt.Errorf("apt's state: %w", err)
	}
	defer os.RemoveAll(state)
	for _, directory := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, directory), 0o700); err != nil {
			return nil, fmt.Errorf("apt's state: %w", err)
		}
	}
	status := filepath.Join(state, "status")
	if err := os.WriteFile(status, nil, 0o600); err != nil {
		return nil, fmt.Errorf("apt's state: %w", err)
	}
	apt := func(args ...string) error {
		options := []string{
			"-qq",
			"-o", "Dir::State=" + state,
			"-o", "Dir::State::status=" + status,
			"-o", "Dir::Cache=" + state,
			"-o", "APT::Architecture=" + architecture,
			"-o", "APT::Architectures=" + architecture,
			"-o", "APT::Update::Post-Invoke-Success::=",
			"-o", "APT::Sandbox::User=",
			"-o", "Acquire::Languages=none",
		}
		command := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
		command.Dir = state
		if said, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s for %s: %w: %s", args[0], architecture, err, said)
		}
		return nil
	}
	// A source of the machine's may lack the architecture; what counts is whether the package is found.
	updated := apt("update")
	if err := apt("download", "busybox-static"); err != nil {
		return nil, errors.Join(err, updated)
	}
	packages, _ := filepath.Glob(filepath.Join(state, "busybox-static_*.deb"))
	if len(packages) != 1 {
		return nil, fmt.Errorf("apt-get download for %s: found %d packages", architecture, len(packages))
	}
	return unpack(ctx, packages[0], "busybox")
}

// unpack gives a program of a Debian package, be it in /bin or, as in newer releases, in /usr/bin.
func unpack(ctx context.Context, archive, program string) ([]byte, error) {
	command := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", archive)
	packed, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-deb --fsys-tarfile: %w", err)
	}
	reader := tar.NewReader(bytes.NewReader(packed))
	for {
		header, err := reader.Next()
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", program, filepath.Base(archive), err)
		}
		directory, name := path.Split(header.Name)
		if header.Typeflag == tar.TypeReg && name == program && strings.HasSuffix(directory, "bin/") {
			return io.ReadAll(reader)
		}
	}
}

// applets asks busybox for the programs that it can be.
func applets(ctx context.Context, busybox []byte) ([]string, error) {
	directory, err := os.MkdirTemp("", "images-")
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	defer os.RemoveAll(directory)
	program := filepath.Join(directory, "busybox")
	if err := os.WriteFile(program, busybox, 0o700); err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	list, err := exec.CommandContext(ctx, program, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	applets := strings.Fields(string(list))
	applets = slices.DeleteFunc(applets, func(applet string) bool { return applet == "busybox" })
	slices.Sort(applets)
	return applets, nil
}
