package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
)

const (
	repositories      = 10
	tagsPerRepository = 3
	manifestType      = "application/vnd.oci.image.manifest.v1+json"
	indexType         = "application/vnd.oci.image.index.v1+json"
	layerType         = "application/vnd.oci.image.layer.v1.tar+gzip"
	configType        = "application/vnd.oci.image.config.v1+json"
	mib               = 1 << 20
)

var platforms = []string{"amd64", "arm64"}

// Sizes in MiB. Two families of base layers, each under the images of five repositories; a layer that the images of a
// repository share; and one of each image's own: 600 MiB of distinct layers for 30 images of two platforms.
var (
	baseLayers      = []int64{16, 10, 4}
	families        = 2
	repositoryLayer = int64(12)
	imageLayer      = int64(4)
)

type descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int64             `json:"size"`
	Platform  map[string]string `json:"platform,omitempty"`
}

// seeder puts images into a registry.
type seeder struct {
	client *http.Client
	host   string
}

// seed puts all images, and gives the index that the moved tag will name, and the digests of its new blobs.
func (s *seeder) seed(largeMiB int64) (moved []byte, movedBlobs []string, err error) {
	for r := range repositories {
		for t := range tagsPerRepository {
			index, _, err := s.image(r, fmt.Sprintf("image-%d-%d", r, t))
			if err != nil {
				return nil, nil, err
			}
			if err := s.manifest(repositoryName(r), tagName(t), indexType, index); err != nil {
				return nil, nil, err
			}
		}
	}
	moved, movedBlobs, err = s.image(0, "moved")
	if err != nil || largeMiB == 0 {
		return moved, movedBlobs, err
	}
	layer, err := s.random("large/image", "large", largeMiB*mib)
	if err != nil {
		return nil, nil, err
	}
	image, err := s.put("large/image", "amd64", "large", []descriptor{layer})
	if err != nil {
		return nil, nil, err
	}
	return moved, movedBlobs, s.manifest("large/image", "v1", manifestType, image)
}

func repositoryName(r int) string { return fmt.Sprintf("team-%d/app", r) }

func tagName(t int) string { return fmt.Sprintf("v%d", t+1) }

// image puts an index of two platforms by its digest's parts, without a tag. It gives its own layers, too.
func (s *seeder) image(r int, name string) ([]byte, []string, error) {
	repository := repositoryName(r)
	var entries []descriptor
	var own []string
	for _, platform := range platforms {
		var layers []descriptor
		parts := []struct {
			name string
			size int64
		}{{fmt.Sprintf("repository-%d-%s", r, platform), repositoryLayer}, {name + platform, imageLayer}}
		for i, size := range baseLayers {
			layer, err := s.random(repository, fmt.Sprintf("base-%d-%d-%s", r%families, i, platform), size*mib)
			if err != nil {
				return nil, nil, err
			}
			layers = append(layers, layer)
		}
		for _, part := range parts {
			layer, err := s.random(repository, part.name, part.size*mib)
			if err != nil {
				return nil, nil, err
			}
			layers = append(layers, layer)
		}
		own = append(own, layers[len(layers)-1].Digest)
		image, err := s.put(repository, platform, name, layers)
		if err != nil {
			return nil, nil, err
		}
		digest := digestOf(image)
		if err := s.manifest(repository, digest, manifestType, image); err != nil {
			return nil, nil, err
		}
		described := descriptor{MediaType: manifestType, Digest: digest, Size: int64(len(image))}
		described.Platform = map[string]string{"os": "linux", "architecture": platform}
		entries = append(entries, described)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": entries})
	return index, own, err
}

// put gives the manifest of an image of one platform, whose configuration is in the registry.
func (s *seeder) put(repository, platform, name string, layers []descriptor) ([]byte, error) {
	var ids []string
	for _, layer := range layers {
		ids = append(ids, layer.Digest)
	}
	config, err := json.Marshal(map[string]any{
		"os": "linux", "architecture": platform, "author": name,
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	if err != nil {
		return nil, err
	}
	digest := digestOf(config)
	if err := s.blob(repository, digest, int64(len(config)), bytes.NewReader(config)); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "layers": layers,
		"config": descriptor{MediaType: configType, Digest: digest, Size: int64(len(config))},
	})
}

// random puts a layer whose bytes its name decides. They can't be compressed, as a layer's can't any more.
func (s *seeder) random(repository, name string, size int64) (descriptor, error) {
	content := func() io.Reader {
		return io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(name))), size)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, content()); err != nil {
		return descriptor{}, err
	}
	digest := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	described := descriptor{MediaType: layerType, Digest: digest, Size: size}
	return described, s.blob(repository, digest, size, content())
}

func (s *seeder) blob(repository, digest string, size int64, content io.Reader) error {
	base := "https://" + s.host
	head, err := s.client.Head(base + "/v2/" + repository + "/blobs/" + digest)
	if err != nil {
		return err
	}
	_ = head.Body.Close()
	if head.StatusCode == http.StatusOK {
		return nil
	}
	started, err := s.client.Post(base+"/v2/"+repository+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	_ = started.Body.Close()
	location, err := started.Location()
	if err != nil {
		return fmt.Errorf("starting an upload to %s: %s: %w", repository, started.Status, err)
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	return s.send(location, "application/octet-stream", size, content)
}

func (s *seeder) manifest(repository, reference, mediaType string, content []byte) error {
	target, err := url.Parse("https://" + s.host + "/v2/" + repository + "/manifests/" + reference)
	if err != nil {
		return err
	}
	return s.send(target, mediaType, int64(len(content)), bytes.NewReader(content))
}

func (s *seeder) send(target *url.URL, mediaType string, size int64, content io.Reader) error {
	request, err := http.NewRequest(http.MethodPut, target.String(), content)
	if err != nil {
		return err
	}
	request.ContentLength = size
	request.Header.Set("Content-Type", mediaType)
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return fmt.Errorf("PUT %s: %s: %s", target.Path, answer.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// tag gives what a tag of a registry names, or nothing.
func (s *seeder) tag(repository, tag string) (string, error) {
	request, err := http.NewRequest(http.MethodHead, "https://"+s.host+"/v2/"+repository+"/manifests/"+tag, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept", indexType+", "+manifestType)
	answer, err := s.client.Do(request)
	if err != nil {
		return "", err
	}
	_ = answer.Body.Close()
	return answer.Header.Get("Docker-Content-Digest"), nil
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
