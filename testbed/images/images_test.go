package main

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// push makes an image in a registry of the test's own and gives what the registry says of it.
func push(t *testing.T, random randomImage) *remote.Descriptor {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	if err := pushRandom(t.Context(), address, "test/random:1", random); err != nil {
		t.Fatal(err)
	}
	reference, err := reference(address, "test/random:1")
	if err != nil {
		t.Fatal(err)
	}
	found, err := remote.Get(reference)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheSameSeedMakesTheSameImage(t *testing.T) {
	random := randomImage{platforms: demoPlatforms, layers: 2, layerSize: 10_000, seed: 1}
	first, second := push(t, random), push(t, random)
	if first.Digest != second.Digest {
		t.Errorf("%s and %s", first.Digest, second.Digest)
	}
	random.seed = 2
	if other := push(t, random); other.Digest == first.Digest {
		t.Error("another seed makes the same image")
	}
}

func TestEachPlatformHasLayersOfItsOwn(t *testing.T) {
	index, err := push(t, randomImage{platforms: demoPlatforms, layers: 3, layerSize: 10_000, seed: 1}).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	layers := map[v1.Hash]bool{}
	for _, child := range manifest.Manifests {
		image, err := index.Image(child.Digest)
		if err != nil {
			t.Fatal(err)
		}
		found, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range found {
			digest, err := layer.Digest()
			if err != nil {
				t.Fatal(err)
			}
			layers[digest] = true
		}
	}
	if len(layers) != 6 {
		t.Errorf("%d layers, want 6", len(layers))
	}
}

func TestTheMediaTypesAreThoseAskedFor(t *testing.T) {
	one := demoPlatforms[:1]
	for _, test := range []struct {
		random randomImage
		want   types.MediaType
	}{
		{randomImage{platforms: demoPlatforms, layers: 1}, types.OCIImageIndex},
		{randomImage{platforms: demoPlatforms, layers: 1, docker: true}, types.DockerManifestList},
		{randomImage{platforms: one, layers: 1}, types.OCIManifestSchema1},
		{randomImage{platforms: one, layers: 1, docker: true}, types.DockerManifestSchema2},
	} {
		if found := push(t, test.random); found.MediaType != test.want {
			t.Errorf("%s, want %s", found.MediaType, test.want)
		}
	}
}

func TestAnIndexNamesNoArtifactTypes(t *testing.T) {
	index := push(t, randomImage{platforms: demoPlatforms, layers: 1, docker: true})
	if strings.Contains(string(index.Manifest), "artifactType") {
		t.Errorf("index: %s", index.Manifest)
	}
}

func TestALayerDependsOnItsFilesOnly(t *testing.T) {
	files := append(baseFiles(), file{name: "bin/sh", mode: 0o777, target: "busybox"})
	first, err := layer(oci.layer, files...)
	if err != nil {
		t.Fatal(err)
	}
	second, err := layer(docker.layer, files...)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := first.Digest()
	two, _ := second.Digest()
	if one != two {
		t.Errorf("%s and %s", one, two)
	}
	if err := validate.Layer(first); err != nil {
		t.Error(err)
	}
}
