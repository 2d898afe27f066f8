package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// sandboxName is what containerd's configuration calls the image.
const sandboxName = "testbed.local/sandbox:1"

// writeSandbox writes the image that pods' sandboxes are made of, for this machine's architecture.
func writeSandbox(ctx context.Context, output string) error {
	platform := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	program, err := compile(ctx, pauseSource, platform)
	if err != nil {
		return err
	}
	binary, err := layer(docker.layer, file{name: "pause", mode: 0o755, body: program})
	if err != nil {
		return err
	}
	image, err := docker.image(platform, v1.Config{Entrypoint: []string{"/pause"}}, binary)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(sandboxName, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("name %s: %w", sandboxName, err)
	}
	if err := tarball.WriteToFile(output, tag, image); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	return nil
}
