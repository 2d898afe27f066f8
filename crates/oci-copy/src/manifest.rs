//! Manifests: what the engine has to understand of them, over bytes that stay as they are.
//!
//! The types here are our own and read only the fields that a copy needs. `oci-spec`'s types would read and write the
//! rest too, but what they don't know they would lose, and a copy must keep every byte.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::digest::Digest;
use crate::media_type::{self, essence, is_image, is_index};
use crate::platform::Platform;

/// The largest manifest, in bytes: the distribution specification asks registries for 4 MiB, and ECR takes no more.
pub(crate) const MAX_BYTES: usize = 4 << 20;

const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// A manifest as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
    pub(crate) content: Content,
}

/// What a manifest is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// Other manifests.
    Index(Vec<Entry>),
    /// Blobs.
    Image {
        config: Blob,
        /// Without those that registries don't hold.
        layers: Vec<Blob>,
    },
}

/// A manifest that an index names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) platform: Option<Platform>,
    /// The image that this entry only tells about, such as `BuildKit`'s attestations do.
    pub(crate) about: Option<Digest>,
}

/// A blob that a manifest names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// The blob itself, where the manifest carries it and it is what the digest says.
    pub(crate) data: Option<Bytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Object<RawDescriptor>>,
    layers: Option<Vec<Object<RawDescriptor>>>,
    manifests: Option<Vec<Object<RawDescriptor>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Object<RawPlatform>>,
    annotations: Option<Value>,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
}

/// A struct that is written as a JSON object. By itself, serde reads it from an array of its fields too, which nobody
/// else would understand.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl Manifest {
    /// Reads a manifest that was answered with `content_type`.
    ///
    /// A field that stands there twice is refused: two readers could see two different images.
    pub(crate) fn read(bytes: Bytes, digest: Digest, content_type: Option<&str>) -> Result<Self, String> {
        let Object::<RawManifest>(raw) =
            serde_json::from_slice(&bytes).map_err(|error| format!("it can't be read: {error}"))?;
        let media_type = media_type(&raw, content_type)?;
        if raw.schema_version != Some(2) {
            return Err("its schemaVersion isn't 2; ask the publisher for an image in a current format".to_owned());
        }
        let content = if is_index(&media_type) {
            if raw.config.is_some() || raw.layers.is_some() {
                return Err("it has both manifests and layers, so it could be read in two ways".to_owned());
            }
            Content::Index(raw.manifests.unwrap_or_default().into_iter().map(entry).collect())
        } else {
            if raw.manifests.is_some() {
                return Err("it has both manifests and layers, so it could be read in two ways".to_owned());
            }
            let config = blob(raw.config.ok_or("it has no config")?);
            let layers = raw.layers.unwrap_or_default().into_iter().map(blob);
            // A registry doesn't hold foreign layers: clients fetch them from the URLs in the manifest, which stay.
            Content::Image {
                config,
                layers: layers.filter(|b| !media_type::is_non_distributable(&b.media_type)).collect(),
            }
        };
        Ok(Self { media_type, digest, bytes, content })
    }

    /// The blobs that a registry must hold before it takes this manifest.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        let (config, layers) = match &self.content {
            Content::Index(_) => (None, &[][..]),
            Content::Image { config, layers } => (Some(config), layers.as_slice()),
        };
        config.into_iter().chain(layers)
    }

    /// The manifests that a registry must hold before it takes this one.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Index(entries) => entries,
            Content::Image { .. } => &[],
        }
    }
}

fn media_type(raw: &RawManifest, content_type: Option<&str>) -> Result<String, String> {
    let known = |media_type: &String| is_index(media_type) || is_image(media_type);
    let told = content_type.map(essence);
    let written = raw.media_type.clone();
    match (&written, &told) {
        (Some(written), Some(told)) if known(told) && written != told => {
            return Err(format!("it says that it is {written:.100}, but the registry says {told}"));
        }
        _ => {}
    }
    let media_type = written.or(told.filter(known)).unwrap_or_else(|| {
        // Neither says, which OCI 1.0 allowed.
        if raw.manifests.is_some() { media_type::OCI_INDEX.to_owned() } else { media_type::OCI_MANIFEST.to_owned() }
    });
    if known(&media_type) { Ok(media_type) } else { Err(format!("its media type {media_type:.100} isn't supported")) }
}

fn entry(Object(raw): Object<RawDescriptor>) -> Entry {
    let platform = raw
        .platform
        .map(|Object(p)| Platform::new(&p.os, &p.architecture, p.variant.as_deref(), p.os_version.as_deref()));
    let about = raw.annotations.as_ref().and_then(|a| a.get(REFERENCE_DIGEST)?.as_str()?.parse().ok());
    Entry { media_type: essence(&raw.media_type), digest: raw.digest, size: raw.size, platform, about }
}

fn blob(Object(raw): Object<RawDescriptor>) -> Blob {
    // Whoever wrote the manifest may have been wrong about it: what doesn't fit is read from the registry as usual.
    let data = raw.data.as_ref().and_then(Value::as_str).and_then(|data| STANDARD.decode(data).ok());
    let data = data.filter(|data| data.len() as u64 == raw.size && raw.digest.matches(data)).map(Bytes::from);
    Blob { media_type: essence(&raw.media_type), digest: raw.digest, size: raw.size, data }
}

/// The platform that an image's configuration tells.
pub(crate) fn platform_of_config(config: &[u8]) -> Result<Platform, String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(flatten)]
        platform: RawPlatform,
    }
    let Config { platform } =
        serde_json::from_slice(config).map_err(|error| format!("its configuration can't be read: {error}"))?;
    Ok(Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref(), platform.os_version.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

    fn digest(n: u8) -> String {
        Digest::sha256(&[n]).to_string()
    }

    fn read(json: &str, content_type: &str) -> Result<Manifest, String> {
        let bytes = Bytes::copy_from_slice(json.as_bytes());
        let digest = Digest::sha256(&bytes);
        Manifest::read(bytes, digest, Some(content_type).filter(|t| !t.is_empty()))
    }

    fn image(media_type: &str) -> String {
        format!(
            r#"{{"schemaVersion":2{media_type},"config":{{"mediaType":"c","digest":"{}","size":1}},
            "layers":[{{"mediaType":"l","digest":"{}","size":2}}]}}"#,
            digest(1),
            digest(2)
        )
    }

    #[test]
    fn the_media_type_is_what_the_manifest_and_the_registry_agree_on() {
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        for (json, content_type, expected) in [
            (image(""), OCI_MANIFEST, Ok(OCI_MANIFEST)),
            (image(""), DOCKER_MANIFEST, Ok(DOCKER_MANIFEST)),
            (image(""), "application/vnd.docker.distribution.manifest.v2+json; charset=utf-8", Ok(DOCKER_MANIFEST)),
            (image(""), "", Ok(OCI_MANIFEST)),
            (image(""), "application/json", Ok(OCI_MANIFEST)),
            (index.to_owned(), "text/plain", Ok(OCI_INDEX)),
            (index.to_owned(), DOCKER_LIST, Ok(DOCKER_LIST)),
            (image(&format!(",\"mediaType\":\"{DOCKER_MANIFEST}\"")), "application/json", Ok(DOCKER_MANIFEST)),
            (image(&format!(",\"mediaType\":\"{DOCKER_MANIFEST}\"")), OCI_MANIFEST, Err("the registry says")),
            (image(""), OCI_INDEX, Err("two ways")),
            (index.to_owned(), OCI_MANIFEST, Err("two ways")),
            (image(",\"mediaType\":\"x/y\""), "", Err("isn't supported")),
            (image(",\"manifests\":[]"), "", Err("two ways")),
            (image(",\"manifests\":[]"), OCI_MANIFEST, Err("two ways")),
        ] {
            match (read(&json, content_type), expected) {
                (Ok(manifest), Ok(expected)) => assert_eq!(manifest.media_type, expected, "{json}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (result, expected) => panic!("{json} {content_type}: {result:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_or_not_at_all_is_refused() {
        let config = format!(r#""config":{{"mediaType":"c","digest":"{}","size":1}}"#, digest(1));
        for json in [
            String::new(),
            "[]".to_owned(),
            format!(r#"[2,null,{{"mediaType":"c","digest":"{}","size":1}},null,null]"#, digest(1)),
            format!(r#"{{"schemaVersion":2,"config":["c","{}",1,null,null]}}"#, digest(1)),
            format!(r#"{{"schemaVersion":2,"manifests":[["c","{}",1,null,null]]}}"#, digest(1)),
            "{}".to_owned(),
            format!("{{{config}}}"),
            format!("{{\"schemaVersion\":1,{config}}}"),
            format!("{{\"schemaVersion\":2,{config},{config}}}"),
            r#"{"schemaVersion":2}"#.to_owned(),
            r#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:../..","size":1}}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{}","size":-1}}}}"#, digest(1)),
            format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{}","size":1e3}}}}"#, digest(1)),
            format!(r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":1}}}}"#, digest(1)),
        ] {
            assert!(read(&json, "").is_err(), "{json}");
        }
    }

    #[test]
    fn null_where_a_list_should_be_is_an_empty_list() {
        let json = format!(
            r#"{{"schemaVersion":2,"layers":null,"config":{{"mediaType":"c","digest":"{}","size":1,"annotations":null}}}}"#,
            digest(1)
        );
        assert_eq!(read(&json, "").unwrap().blobs().count(), 1);
        assert_eq!(read(r#"{"schemaVersion":2,"manifests":null}"#, OCI_INDEX).unwrap().entries(), []);
    }

    #[test]
    fn layers_that_registries_do_not_hold_are_no_blobs_of_ours() {
        let json = image("").replace(
            r#""mediaType":"l""#,
            r#""mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","urls":["https://x"]"#,
        );
        let manifest = read(&json, "").unwrap();
        assert_eq!(manifest.blobs().count(), 1);
        assert_eq!(&manifest.bytes[..], json.as_bytes());
    }

    #[test]
    fn a_configuration_tells_its_platform() {
        let config = br#"{"os":"linux","architecture":"arm","variant":"v7","rootfs":{"x":1}}"#;
        assert_eq!(platform_of_config(config).unwrap().to_string(), "linux/arm/v7");
        assert!(platform_of_config(b"x").is_err());
    }
}
