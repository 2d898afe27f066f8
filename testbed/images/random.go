package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// randomImage is an image whose layers hold pseudo-random bytes.
type randomImage struct {
	platforms []v1.Platform
	layers    int
	layerSize int64
	seed      uint64
	docker    bool
}

// pushRandom pushes such an image: an index, or with one platform the image alone.
func pushRandom(ctx context.Context, registry, path string, random randomImage) error {
	reference, err := reference(registry, path)
	if err != nil {
		return err
	}
	var digest v1.Hash
	if len(random.platforms) == 1 {
		image, err := random.image(random.platforms[0])
		if err != nil {
			return fmt.Errorf("make %s: %w", path, err)
		}
		if err := remote.Write(reference, image, remoteOptions(ctx)...); err != nil {
			return fmt.Errorf("push %s: %w", reference, err)
		}
		if digest, err = image.Digest(); err != nil {
			return fmt.Errorf("digest of %s: %w", path, err)
		}
	} else {
		index, err := random.format().platformIndex(random.platforms, random.image)
		if err != nil {
			return fmt.Errorf("make %s: %w", path, err)
		}
		if err := remote.WriteIndex(reference, index, remoteOptions(ctx)...); err != nil {
			return fmt.Errorf("push %s: %w", reference, err)
		}
		if digest, err = index.Digest(); err != nil {
			return fmt.Errorf("digest of %s: %w", path, err)
		}
	}
	fmt.Printf("%s@%s\n", reference, digest)
	return nil
}

func (r randomImage) format() format {
	if r.docker {
		return docker
	}
	return oci
}

func (r randomImage) image(platform v1.Platform) (v1.Image, error) {
	var layers []v1.Layer
	for number := range r.layers {
		layer, err := r.layer(platform, number)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return r.format().image(platform, v1.Config{Cmd: []string{"/data"}}, layers...)
}

// layer makes a layer of one file. Its bytes are made whenever they are read, so that its size costs no memory, and are
// not compressed, as they can't be.
func (r randomImage) layer(platform v1.Platform, number int) (v1.Layer, error) {
	seed := sha256.Sum256(fmt.Append(nil, r.seed, "/", platform.String(), "/", number))
	opener := func() (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() {
			packer := tar.NewWriter(writer)
			err := packer.WriteHeader(&tar.Header{
				Typeflag: tar.TypeReg,
				Name:     fmt.Sprintf("data-%d", number),
				Mode:     0o644,
				Size:     r.layerSize,
				ModTime:  epoch,
			})
			if err == nil {
				_, err = io.CopyN(packer, rand.NewChaCha8(seed), r.layerSize)
			}
			if err == nil {
				err = packer.Close()
			}
			writer.CloseWithError(err)
		}()
		return reader, nil
	}
	return tarball.LayerFromOpener(opener,
		tarball.WithMediaType(r.format().layer), tarball.WithCompressionLevel(gzip.NoCompression))
}
