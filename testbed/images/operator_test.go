package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestTheOperatorsImageIsTheSameWheneverItIsMade(t *testing.T) {
	place := t.TempDir()
	program := filepath.Join(place, "program")
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	of := operatorImage{version: "1.2.3", revision: "abc", licence: program, certificates: program, created: time.Unix(1_700_000_000, 0).UTC()}
	platforms := []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	var digests []v1.Hash
	for _, name := range []string{"one", "two"} {
		output := filepath.Join(place, name)
		if err := writeOperator(output, of, map[string]string{"amd64": program, "arm64": program}, platforms); err != nil {
			t.Fatal(err)
		}
		index, err := read(output)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Fatal(err)
		}
		digest, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range manifest.Manifests {
			image, err := index.Image(part.Digest)
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.Config.User != nonroot || config.Architecture != part.Platform.Architecture || !config.Created.Equal(of.created) {
				t.Errorf("%s: user %q, architecture %q, created %s", part.Platform, config.Config.User, config.Architecture, config.Created)
			}
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("%s and %s", digests[0], digests[1])
	}
}
