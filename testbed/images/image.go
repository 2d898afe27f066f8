package main

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// format is a family of media types.
type format struct {
	index, manifest, config, layer types.MediaType
}

var (
	oci    = format{types.OCIImageIndex, types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer}
	docker = format{types.DockerManifestList, types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer}
)

// image puts layers and a configuration together, for one platform.
func (f format) image(platform v1.Platform, config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, f.manifest), f.config)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Variant:      platform.Variant,
		Created:      v1.Time{Time: epoch},
		Config:       config,
		RootFS:       v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, fmt.Errorf("configuration of an image: %w", err)
	}
	for _, layer := range layers {
		addendum := mutate.Addendum{
			Layer:     layer,
			History:   v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "testbed/images"},
			MediaType: f.layer,
		}
		if image, err = mutate.Append(image, addendum); err != nil {
			return nil, fmt.Errorf("layers of an image: %w", err)
		}
	}
	return image, nil
}

// platformIndex makes an index of an image for each platform.
func (f format) platformIndex(platforms []v1.Platform, build func(v1.Platform) (v1.Image, error)) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, f.index)
	for _, platform := range platforms {
		image, err := build(platform)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        describedPlainly{image},
			Descriptor: v1.Descriptor{MediaType: f.manifest, Platform: &platform},
		})
	}
	return index, nil
}

// describedPlainly keeps the library from naming the configuration's media type as an artifact type in the index, which
// neither Docker's nor Docker Hub's own indexes do.
type describedPlainly struct{ v1.Image }

func (describedPlainly) ArtifactType() (string, error) { return "", nil }
