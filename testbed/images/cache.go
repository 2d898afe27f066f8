package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// cached gives an image of the demo from the cache, and builds it where it is not there yet.
func cached(ctx context.Context, demo demo) (v1.ImageIndex, error) {
	directory, err := cacheDirectory()
	if err != nil {
		return nil, err
	}
	recipe, err := recipe()
	if err != nil {
		return nil, err
	}
	place := filepath.Join(directory, strings.ReplaceAll(demo.repository, "/", "-")+"-"+recipe)
	if index, err := read(place); err == nil {
		return index, nil
	}
	index, err := demo.build(ctx)
	if err != nil {
		return nil, err
	}
	// A build that is interrupted leaves nothing in the image's place.
	unfinished, err := os.MkdirTemp(directory, ".unfinished-")
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	defer os.RemoveAll(unfinished)
	path, err := layout.Write(unfinished, empty.Index)
	if err == nil {
		err = path.AppendIndex(index)
	}
	if err != nil {
		return nil, fmt.Errorf("cache %s: %w", demo.repository, err)
	}
	if err := os.RemoveAll(place); err != nil {
		return nil, fmt.Errorf("cache %s: %w", demo.repository, err)
	}
	if err := os.Rename(unfinished, place); err != nil {
		return nil, fmt.Errorf("cache %s: %w", demo.repository, err)
	}
	return read(place)
}

// recipe names how images are built, by the digest of this program: another program builds them anew.
func recipe() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("this program: %w", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("this program: %w", err)
	}
	digest := sha256.Sum256(program)
	return hex.EncodeToString(digest[:8]), nil
}

// read gives the one index in an OCI image layout.
func read(place string) (v1.ImageIndex, error) {
	all, err := layout.ImageIndexFromPath(place)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", place, err)
	}
	manifest, err := all.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", place, err)
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("read %s: holds %d images", place, len(manifest.Manifests))
	}
	return all.ImageIndex(manifest.Manifests[0].Digest)
}

// cacheDirectory gives the place of built images: $ECR_OPERATOR_TESTBED_CACHE/images, by default in the user's cache.
func cacheDirectory() (string, error) {
	cache := os.Getenv("ECR_OPERATOR_TESTBED_CACHE")
	if cache == "" {
		user, err := userCache()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(user, "ecr-operator-testbed")
	}
	directory := filepath.Join(cache, "images")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return directory, nil
}

// userCache gives $XDG_CACHE_HOME, by default ~/.cache, on every system: scripts look there as well.
func userCache() (string, error) {
	if cache := os.Getenv("XDG_CACHE_HOME"); cache != "" {
		return cache, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return filepath.Join(home, ".cache"), nil
}
