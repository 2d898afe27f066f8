//! The operator's configuration of registries other than ECR: where they are really reached, and whom to trust there.

use std::path::{Path, PathBuf};

use oci_copy::{Engine, EngineConfig, Floor, RegistryConfig};
use serde::Deserialize;

use crate::ecr::host::is_public;

/// How registries are reached. Those that aren't listed are reached under their own names.
#[derive(Clone, Debug, Default)]
pub struct Registries(Vec<Known>);

/// How one registry is reached, and what of its pull budget is left for others.
#[derive(Clone, Debug)]
struct Known {
    config: RegistryConfig,
    floor: Floor,
    uses_identity: bool,
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// The file can't be read.
    #[error("can't read the registries configuration {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not what it should be.
    #[error("the registries configuration is not valid: {0}")]
    Syntax(String),
    /// A registry's settings can't be used.
    #[error("the registries configuration has a mistake at {host}: {source}")]
    Registry {
        /// The registry.
        host: String,
        /// The mistake.
        source: oci_copy::ConfigError,
    },
    /// The operator's identity is of use at ECR Public alone.
    #[error(
        "the registries configuration has a mistake at {host}: useIdentity is for public.ecr.aws and ecr-public.aws.com; an EcrRegistry says how a private registry of ECR is reached, and a Secret has the credentials of others"
    )]
    Identity {
        /// The registry.
        host: String,
    },
    /// A floor is neither a number nor a percentage.
    #[error(
        "the registries configuration has a mistake at {host}: pullBudgetFloor {floor:?} is neither a number of pulls such as 20 nor a share of the limit such as \"20%\""
    )]
    Floor {
        /// The registry.
        host: String,
        /// What was given.
        floor: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    registries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    host: String,
    endpoint: Option<String>,
    #[serde(default)]
    token_realms: Vec<String>,
    #[serde(default)]
    allow_hosts: Vec<String>,
    ca_bundle: Option<String>,
    pull_budget_floor: Option<FloorText>,
    #[serde(default)]
    use_identity: bool,
}

/// So many pulls, or a percentage of the limit.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FloorText {
    Pulls(u64),
    Text(String),
}

impl Registries {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, RegistriesError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| RegistriesError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Reads the file if there is one; else no registry is reached in another way than usual.
    pub fn read_if_given(path: Option<&Path>) -> Result<Self, RegistriesError> {
        path.map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// Reads the YAML text.
    pub fn parse(text: &str) -> Result<Self, RegistriesError> {
        let document: Document =
            serde_saphyr::from_str(text).map_err(|error| RegistriesError::Syntax(error.to_string()))?;
        document.registries.into_iter().map(known).collect::<Result<_, _>>().map(Self)
    }

    /// The engine's configuration of each registry.
    pub fn configs(&self) -> impl Iterator<Item = &RegistryConfig> {
        self.0.iter().map(|known| &known.config)
    }

    /// What of each registry's pull budget is left for others, by host.
    pub fn floors(&self) -> impl Iterator<Item = (&str, Floor)> {
        self.0.iter().map(|known| (known.config.host(), known.floor))
    }

    /// Whether a registry is read with the operator's own AWS identity.
    #[must_use]
    pub fn uses_identity(&self, host: &str) -> bool {
        self.0.iter().any(|known| known.uses_identity && known.config.host() == host)
    }

    /// A copy engine that reaches these registries so, for a command that has no limits of its own.
    pub fn engine(&self) -> Result<Engine, oci_copy::ConfigError> {
        self.configs()
            .try_fold(Engine::new(EngineConfig::default()), |engine, config| engine.with_registry(config.clone()))
    }
}

fn known(mut entry: Entry) -> Result<Known, RegistriesError> {
    let host = entry.host.clone();
    let floor = match entry.pull_budget_floor.take() {
        None => Floor::default(),
        Some(text) => floor(&host, text)?,
    };
    let uses_identity = entry.use_identity;
    if uses_identity && !is_public(&host) {
        return Err(RegistriesError::Identity { host });
    }
    let config = config(entry).map_err(|source| RegistriesError::Registry { host, source })?;
    Ok(Known { config, floor, uses_identity })
}

fn floor(host: &str, text: FloorText) -> Result<Floor, RegistriesError> {
    let text = match text {
        FloorText::Pulls(pulls) => return Ok(Floor { pulls, percent: 0 }),
        FloorText::Text(text) => text,
    };
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
    match (percent, text.parse()) {
        (Some(percent), _) if percent <= 100 => Ok(Floor { pulls: 0, percent }),
        (None, Ok(pulls)) => Ok(Floor { pulls, percent: 0 }),
        _ => Err(RegistriesError::Floor { host: host.to_owned(), floor: text }),
    }
}

fn config(entry: Entry) -> Result<RegistryConfig, oci_copy::ConfigError> {
    let Entry { host, endpoint, token_realms, allow_hosts, ca_bundle, pull_budget_floor: _, use_identity: _ } = entry;
    let mut config = RegistryConfig::new(&host)?;
    if let Some(url) = endpoint {
        config = config.endpoint(&url)?;
    }
    for realm in token_realms {
        config = config.token_realm(&realm)?;
    }
    for host in allow_hosts {
        config = config.allow_host(&host);
    }
    if let Some(pem) = ca_bundle {
        config = config.ca_bundle(pem)?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_endpoints_realms_and_hosts() {
        let registries = Registries::parse(
            "registries:\n- host: docker.io\n  endpoint: https://mirror.example.com\n  tokenRealms: [\"https://auth.example.com\"]\n  allowHosts: [storage.internal]\n",
        )
        .expect("valid");
        let hosts: Vec<_> = registries.configs().map(RegistryConfig::host).collect();
        assert_eq!(hosts, ["docker.io"]);
    }

    #[test]
    fn a_floor_is_a_number_of_pulls_or_a_share() {
        let floors = |text: &str| -> Result<Vec<Floor>, String> {
            let text = format!("registries:\n- host: docker.io\n  pullBudgetFloor: {text}\n");
            let registries = Registries::parse(&text).map_err(|error| error.to_string())?;
            Ok(registries.floors().map(|(_, floor)| floor).collect())
        };
        for (text, pulls, percent) in [("20", 20, 0), ("'20'", 20, 0), ("20%", 0, 20), ("'100%'", 0, 100)] {
            assert_eq!(floors(text), Ok(vec![Floor { pulls, percent }]), "{text}");
        }
        for text in ["101%", "-1", "half", "''", "1.5"] {
            assert!(floors(text).is_err_and(|error| error.contains("docker.io") || error.contains("Floor")), "{text}");
        }
        let none = Registries::parse("registries:\n- host: docker.io\n").expect("valid");
        assert_eq!(none.floors().next(), Some(("docker.io", Floor::default())));
    }

    #[test]
    fn the_operators_identity_is_for_ecr_public_alone() {
        let registries =
            Registries::parse("registries:\n- host: public.ecr.aws\n  useIdentity: true\n- host: ecr-public.aws.com\n")
                .expect("valid");
        assert!(registries.uses_identity("public.ecr.aws") && !registries.uses_identity("ecr-public.aws.com"));
        for host in ["docker.io", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws.example.com"] {
            let error = Registries::parse(&format!("registries:\n- host: {host}\n  useIdentity: true\n"));
            assert!(error.is_err_and(|error| error.to_string().contains("an EcrRegistry says")), "{host}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| Registries::parse(text).expect_err("refused").to_string();
        assert!(error("registries:\n- host: docker.io\n  endpiont: https://x\n").contains("endpiont"));
        assert!(error("registries:\n- host: docker.io\n  endpoint: ftp://x\n").contains("docker.io"));
        assert!(error("registries:\n- host: docker.io\n  caBundle: nonsense\n").contains("docker.io"));
    }
}
