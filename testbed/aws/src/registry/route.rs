//! What a request to the registry API is for.

use http::Method;

/// A place in the registry API (OCI distribution specification 1.1, "Endpoints"), or a layer's place at its storage
/// origin.
#[derive(Debug, PartialEq)]
pub(crate) enum Route<'a> {
    /// `/v2/`
    Base,
    Manifest {
        repository: &'a str,
        reference: &'a str,
    },
    Blob {
        repository: &'a str,
        digest: &'a str,
    },
    Upload {
        repository: &'a str,
    },
    Tags {
        repository: &'a str,
    },
    Referrers {
        repository: &'a str,
        digest: &'a str,
    },
    /// A layer at its storage origin.
    Layer {
        repository: &'a str,
        digest: &'a str,
    },
    Other,
}

/// First path segment of the storage origin.
pub(crate) const LAYER_PATH: &str = "/starport-layer-bucket/";

impl<'a> Route<'a> {
    pub(crate) fn of(path: &'a str) -> Self {
        if let Some((repository, digest)) = path.strip_prefix(LAYER_PATH).and_then(|rest| rest.rsplit_once('/')) {
            return Self::Layer { repository, digest };
        }
        let Some(rest) = path.strip_prefix("/v2") else {
            return Self::Other;
        };
        if rest.is_empty() || rest == "/" {
            return Self::Base;
        }
        // A repository's name may itself hold any of the words that end it, so they are looked for from the end.
        let split = |word: &str| {
            let (before, after) = rest.rsplit_once(word)?;
            let repository = before.strip_prefix('/')?;
            (!repository.is_empty()).then_some((repository, after))
        };
        if let Some(repository) = rest.strip_suffix("/tags/list").and_then(|name| name.strip_prefix('/')) {
            return Self::Tags { repository };
        }
        if let Some((repository, id)) = split("/blobs/uploads")
            && !id.trim_start_matches('/').contains('/')
        {
            return Self::Upload { repository };
        }
        let last =
            |found: Option<(&'a str, &'a str)>| found.filter(|(_, last)| !last.is_empty() && !last.contains('/'));
        if let Some((repository, reference)) = last(split("/manifests/")) {
            return Self::Manifest { repository, reference };
        }
        if let Some((repository, digest)) = last(split("/blobs/")) {
            return Self::Blob { repository, digest };
        }
        if let Some((repository, digest)) = last(split("/referrers/")) {
            return Self::Referrers { repository, digest };
        }
        Self::Other
    }

    /// The repository that the request is about.
    pub(crate) fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Upload { repository }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. }
            | Self::Layer { repository, .. } => Some(repository),
            Self::Base | Self::Other => None,
        }
    }

    /// The name under which a request is counted, such as `HEAD manifest`.
    pub(crate) fn kind(&self, method: &Method) -> String {
        let what = match self {
            Self::Base => "base",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Upload { .. } => "upload",
            Self::Tags { .. } => "tags",
            Self::Referrers { .. } => "referrers",
            Self::Layer { .. } => "layer",
            Self::Other => return "other".to_owned(),
        };
        format!("{method} {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_their_path() {
        let repository = "team/app";
        for (path, route) in [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/team/app/tags/list", Route::Tags { repository }),
            ("/v2/team/app/blobs/uploads/", Route::Upload { repository }),
            ("/v2/team/app/blobs/uploads", Route::Upload { repository }),
            ("/v2/team/app/blobs/uploads/1-2", Route::Upload { repository }),
            ("/v2/team/app/referrers/sha256:1", Route::Referrers { repository, digest: "sha256:1" }),
            ("/v2/team/app/manifests/1.0", Route::Manifest { repository, reference: "1.0" }),
            ("/v2/team/app/blobs/sha256:1", Route::Blob { repository, digest: "sha256:1" }),
            ("/starport-layer-bucket/team/app/sha256:1", Route::Layer { repository, digest: "sha256:1" }),
            ("/v2/team", Route::Other),
            ("/", Route::Other),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn a_repository_may_be_named_after_an_endpoint() {
        let route = Route::of("/v2/my/manifests/manifests/latest");
        assert_eq!(route.repository(), Some("my/manifests"));
        assert_eq!(route.kind(&Method::HEAD), "HEAD manifest");
    }
}
