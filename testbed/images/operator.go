package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// operatorImage is what goes into the operator's own image, beside a program for each platform.
type operatorImage struct {
	version, revision, source string
	certificates, licence     string
	created                   time.Time
}

// nonroot is the user that the operator runs as, as a number so that runAsNonRoot can be checked.
const nonroot = "65532:65532"

// sourceDate reads SOURCE_DATE_EPOCH: what an image is made from has a time, and not when it is made.
func sourceDate() (time.Time, error) {
	text, ok := os.LookupEnv("SOURCE_DATE_EPOCH")
	if !ok {
		return epoch, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return epoch, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// writeOperator writes an OCI image layout of one index, with an image for each platform. The same programs, files and
// SOURCE_DATE_EPOCH give the same bytes.
func writeOperator(output string, of operatorImage, programs map[string]string, platforms []v1.Platform) error {
	annotations := map[string]string{
		"org.opencontainers.image.title":       "ecr-operator",
		"org.opencontainers.image.description": "Makes Amazon ECR match what Git declares",
		"org.opencontainers.image.source":      of.source,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     of.version,
		"org.opencontainers.image.revision":    of.revision,
		"org.opencontainers.image.created":     of.created.Format(time.RFC3339),
	}
	index, err := oci.platformIndex(platforms, func(platform v1.Platform) (v1.Image, error) {
		image, err := of.image(programs[platform.Architecture], platform, annotations)
		if err != nil {
			return nil, err
		}
		return mutate.Annotations(image, annotations).(v1.Image), nil
	})
	if err != nil {
		return err
	}
	index = mutate.Annotations(index, annotations).(v1.ImageIndex)
	path, err := layout.Write(output, empty.Index)
	if err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	name := map[string]string{"org.opencontainers.image.ref.name": of.version}
	if err := path.AppendIndex(index, layout.WithAnnotations(name)); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	return report(index)
}

// image is the program, certificates, and the names of its user: there is nothing to log in to.
func (of operatorImage) image(program string, platform v1.Platform, labels map[string]string) (v1.Image, error) {
	files := []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, body: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/passwd", mode: 0o644, body: []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "tmp/", mode: 0o1777},
		{name: "usr/", mode: 0o755},
		{name: "usr/local/", mode: 0o755},
		{name: "usr/local/bin/", mode: 0o755},
		{name: "usr/share/", mode: 0o755},
		{name: "usr/share/doc/", mode: 0o755},
		{name: "usr/share/doc/ecr-operator/", mode: 0o755},
	}
	for _, from := range []struct {
		path, name string
		mode       int64
	}{
		{of.certificates, "etc/ssl/certs/ca-certificates.crt", 0o644},
		{of.licence, "usr/share/doc/ecr-operator/LICENSE", 0o644},
		{program, "usr/local/bin/ecr-operator", 0o755},
	} {
		body, err := os.ReadFile(from.path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: from.name, mode: from.mode, body: body})
	}
	layer, err := layer(oci.layer, files...)
	if err != nil {
		return nil, err
	}
	config := v1.Config{
		Entrypoint:   []string{"/usr/local/bin/ecr-operator"},
		Cmd:          []string{"run"},
		User:         nonroot,
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Env:          []string{"PATH=/usr/local/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Labels:       labels,
		WorkingDir:   "/",
	}
	image, err := oci.image(platform, config, layer)
	if err != nil {
		return nil, err
	}
	return mutate.CreatedAt(image, v1.Time{Time: of.created})
}

// report prints the index and, for each platform, the digest and how many bytes a node fetches.
func report(index v1.ImageIndex) error {
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("index %s\n", digest)
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, of := range manifest.Manifests {
		image, err := index.Image(of.Digest)
		if err != nil {
			return err
		}
		parts, err := image.Manifest()
		if err != nil {
			return err
		}
		size := parts.Config.Size
		for _, layer := range parts.Layers {
			size += layer.Size
		}
		fmt.Printf("%s %s %d\n", of.Platform, of.Digest, size)
	}
	return nil
}
