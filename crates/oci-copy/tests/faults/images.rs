//! Images of every shape, made from a seed.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_copy::Digest;
use oci_copy::media_type::{DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};

use crate::random::Random;
use crate::registry::Registry;

pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Bytes,
}

/// An image with all that it is made of.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeMap<String, Bytes>,
    /// What a manifest names comes before it; the last one is the image.
    pub(crate) manifests: Vec<Manifest>,
    /// What tells about the image: signatures and the like. They name it, it doesn't name them.
    pub(crate) referrers: Vec<Manifest>,
}

/// What an image may have that not every registry takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extras {
    /// Layers that their owner serves.
    pub(crate) foreign_layers: bool,
    /// Signatures that name the image.
    pub(crate) referrers: bool,
}

/// What sort of image it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Single,
    Docker,
    Index,
    /// An index with attestations, as BuildKit makes it.
    Attested,
    DockerList,
    /// An index within an index.
    Nested,
    /// Not an image, such as a chart: its configuration is empty.
    Artifact,
}

const SHAPES: [Shape; 8] = [
    Shape::Single,
    Shape::Docker,
    Shape::Index,
    Shape::Index,
    Shape::Attested,
    Shape::DockerList,
    Shape::Nested,
    Shape::Artifact,
];
const SIZES: [usize; 8] = [0, 1, 700, 5_000, 20_000, 70_000, 200_000, 900_000];

impl Content {
    /// An image whose layers are in part those of `base`.
    pub(crate) fn make(random: &mut Random, base: &[Bytes], extras: Extras) -> (Self, Shape) {
        let shape = random.pick(&SHAPES);
        let mut content = Self::default();
        match shape {
            Shape::Single | Shape::Docker | Shape::Artifact => {
                content.image(random, base, "amd64", shape, extras);
            }
            Shape::Index | Shape::DockerList | Shape::Attested => {
                let mut entries = Vec::new();
                for architecture in ["amd64", "arm64"] {
                    let entry = content.image(random, base, architecture, shape, extras);
                    if matches!(shape, Shape::Attested) {
                        let about = entry["digest"].clone();
                        let mut attestation = content.image(random, &[], "unknown", Shape::Artifact, extras);
                        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
                        attestation["annotations"] = json!({
                            "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about,
                        });
                        entries.push(attestation);
                    }
                    entries.push(entry);
                }
                let media_type = if matches!(shape, Shape::DockerList) { DOCKER_LIST } else { OCI_INDEX };
                content.index(media_type, &entries);
            }
            Shape::Nested => {
                let arm = content.image(random, base, "arm64", shape, extras);
                let inner = content.index(OCI_INDEX, &[arm]);
                let amd = content.image(random, base, "amd64", shape, extras);
                content.index(OCI_INDEX, &[amd, inner]);
            }
        }
        if random.percent(40) && extras.referrers {
            let root = content.root();
            let subject =
                json!({"mediaType": root.media_type, "digest": root.digest.clone(), "size": root.bytes.len()});
            let mut signature = Self::default();
            signature.artifact(random, Some(&subject));
            content.blobs.extend(signature.blobs);
            content.referrers.extend(signature.manifests);
        }
        (content, shape)
    }

    pub(crate) fn root(&self) -> &Manifest {
        self.manifests.last().unwrap()
    }

    /// All manifests that the source may give out.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.iter().chain(&self.referrers)
    }

    /// Puts it into a registry in memory.
    pub(crate) fn put(&self, registry: &Registry, repository: &str, tag: Option<&str>) {
        registry.repository(repository, |it| {
            it.blobs.extend(self.blobs.clone());
            for manifest in self.all() {
                it.manifests.insert(manifest.digest.clone(), (manifest.media_type.to_owned(), manifest.bytes.clone()));
            }
            if let Some(tag) = tag {
                it.tags.insert(tag.to_owned(), self.root().digest.clone());
            }
        });
    }

    fn blob(&mut self, media_type: &str, bytes: Bytes) -> Value {
        let digest = Digest::sha256(&bytes).to_string();
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.blobs.insert(digest, bytes);
        descriptor
    }

    fn manifest(&mut self, media_type: &'static str, document: &Value) -> Value {
        let bytes = Bytes::from(serde_json::to_vec_pretty(document).unwrap());
        let digest = Digest::sha256(&bytes).to_string();
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.manifests.push(Manifest { digest, media_type, bytes });
        descriptor
    }

    fn index(&mut self, media_type: &'static str, entries: &[Value]) -> Value {
        self.manifest(media_type, &json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}))
    }

    fn image(
        &mut self,
        random: &mut Random,
        base: &[Bytes],
        architecture: &str,
        shape: Shape,
        extras: Extras,
    ) -> Value {
        if matches!(shape, Shape::Artifact) {
            return self.artifact(random, None);
        }
        let docker = matches!(shape, Shape::Docker | Shape::DockerList);
        let (media_type, config_type, layer_type) = if docker {
            (DOCKER_MANIFEST, DOCKER_CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip")
        } else {
            (OCI_MANIFEST, OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+zstd")
        };
        let config = json!({"os": "linux", "architecture": architecture, "created-by": random.next()}).to_string();
        let config = self.blob(config_type, config.into());
        let mut layers: Vec<Value> = base.iter().map(|bytes| self.blob(layer_type, bytes.clone())).collect();
        for _ in 0..random.below(3) {
            let size = random.pick(&SIZES);
            let bytes = random.bytes(size).into();
            layers.push(self.blob(layer_type, bytes));
        }
        if random.percent(10) && extras.foreign_layers {
            // Its owner serves it, and registries don't hold it.
            let digest = Digest::sha256(&random.bytes(8)).to_string();
            let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
            layers.push(
                json!({"mediaType": foreign, "digest": digest, "size": 99, "urls": ["http://169.254.169.254/layer"]}),
            );
        }
        let mut descriptor = self.manifest(
            media_type,
            &json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers}),
        );
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    }

    fn artifact(&mut self, random: &mut Random, subject: Option<&Value>) -> Value {
        let mut config = self.blob("application/vnd.oci.empty.v1+json", Bytes::from_static(b"{}"));
        config["data"] = "e30=".into();
        let size = random.pick(&[1, 900, 30_000]);
        let bytes = random.bytes(size).into();
        let layer = self.blob("application/vnd.example.data", bytes);
        let mut document = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.signature",
            "config": config, "layers": [layer],
        });
        if let Some(subject) = subject {
            document["subject"] = subject.clone();
        }
        self.manifest(OCI_MANIFEST, &document)
    }
}
