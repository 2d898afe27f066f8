package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

var demoPlatforms = []v1.Platform{
	{OS: "linux", Architecture: "amd64"},
	{OS: "linux", Architecture: "arm64"},
}

// demo is an image of the demo. Its tags are fixed, whatever release of the program a machine has.
type demo struct {
	repository string
	tags       []string
	build      func(context.Context) (v1.ImageIndex, error)
}

var demos = []demo{
	{"library/busybox", []string{"1.36", "latest"}, busyboxIndex},
	{"library/hello", []string{"1.0", "latest"}, helloIndex},
}

// pushDemo builds the demo images, or takes them from the cache, and pushes them.
func pushDemo(ctx context.Context, registry string) error {
	for _, demo := range demos {
		index, err := cached(ctx, demo)
		if err != nil {
			return fmt.Errorf("build %s: %w", demo.repository, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return fmt.Errorf("digest of %s: %w", demo.repository, err)
		}
		for _, tag := range demo.tags {
			reference, err := reference(registry, demo.repository+":"+tag)
			if err != nil {
				return err
			}
			if err := remote.WriteIndex(reference, index, remoteOptions(ctx)...); err != nil {
				return fmt.Errorf("push %s: %w", reference, err)
			}
			fmt.Printf("%s@%s\n", reference, digest)
		}
	}
	return nil
}

// helloIndex builds library/hello: a program of ours, in Docker's media types.
func helloIndex(ctx context.Context) (v1.ImageIndex, error) {
	base, err := layer(docker.layer, baseFiles()...)
	if err != nil {
		return nil, err
	}
	return docker.platformIndex(demoPlatforms, func(platform v1.Platform) (v1.Image, error) {
		program, err := compile(ctx, helloSource, platform)
		if err != nil {
			return nil, err
		}
		binary, err := layer(docker.layer, file{name: "hello", mode: 0o755, body: program})
		if err != nil {
			return nil, err
		}
		return docker.image(platform, v1.Config{Entrypoint: []string{"/hello"}}, base, binary)
	})
}

func reference(registry, path string) (name.Reference, error) {
	reference, err := name.NewTag(registry+"/"+path, name.Insecure, name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("reference %s/%s: %w", registry, path, err)
	}
	return reference, nil
}

func remoteOptions(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(http.DefaultTransport)}
}
