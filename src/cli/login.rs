//! `ecr-operator login`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::exit::Failure;
use crate::ecr::host::{RegistryHost, is_public};
use crate::ecr::{ErrorKind, IdentityToken, identity_token};
use crate::keychain::docker_config_path;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ecr-operator login | docker login --username AWS --password-stdin 123456789012.dkr.ecr.eu-west-1.amazonaws.com
  ecr-operator login --write --registry 123456789012.dkr.ecr.eu-west-1.amazonaws.com

A token lives for 12 hours, and has all rights that the AWS identity has in ECR.")]
pub(super) struct Args {
    /// Host of the registry that the token is for, with --write also several. Default: the identity's own registry in
    /// the default region.
    #[arg(long = "registry", value_name = "HOST")]
    registries: Vec<String>,

    /// Write the token into docker's config file instead of printing it. Other entries stay as they are.
    #[arg(long)]
    write: bool,

    /// The file that --write writes to. Default: config.json in $DOCKER_CONFIG or ~/.docker.
    #[arg(long, value_name = "FILE", requires = "write")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.write && args.registries.len() > 1 {
        eprintln!("ecr-operator login: one token at a time is printed: name one registry, or use --write");
        return Ok(Failure::Usage.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(tokens(&args.registries)) {
        Ok(tokens) if args.write => {
            let path = args.config.or_else(docker_config_path).context("$HOME is not set; use --config FILE")?;
            write(&path, &tokens)?;
            for (host, token) in &tokens {
                eprintln!("{}: logged in to {host} until {}", path.display(), token.token.expires_at);
            }
        }
        Ok(tokens) => {
            for (_, IdentityToken { token, .. }) in &tokens {
                writeln!(io::stdout(), "{}", token.password)?;
            }
        }
        Err(Refused::Usage(problem)) => {
            eprintln!("ecr-operator login: {problem}");
            return Ok(Failure::Usage.into());
        }
        Err(Refused::Aws(error)) => {
            let failure = match error.kind {
                ErrorKind::Credentials | ErrorKind::AccessDenied => Failure::Credentials,
                ErrorKind::Throttled => Failure::RateLimited,
                ErrorKind::Unreachable => Failure::Temporary,
                _ => Failure::Other,
            };
            eprintln!("ecr-operator login: {error}");
            return Ok(failure.into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

enum Refused {
    Usage(String),
    Aws(crate::ecr::EcrError),
}

/// A token for each registry. A name that isn't ECR's gets one only if AWS says that it is the identity's own registry.
async fn tokens(registries: &[String]) -> Result<Vec<(String, IdentityToken)>, Refused> {
    if registries.is_empty() {
        let token = identity_token(None).await.map_err(Refused::Aws)?;
        let host = token.host.clone().ok_or_else(|| {
            Refused::Usage("AWS does not say which registry the token is for: name one with --registry".to_owned())
        })?;
        return Ok(vec![(host, token)]);
    }
    let mut tokens = Vec::new();
    for host in registries {
        if is_public(host) {
            return Err(Refused::Usage(format!("{host} is read without a token, and writing to it is not supported")));
        }
        let region = RegistryHost::parse(host).map(|host| host.region);
        let token = identity_token(region.as_deref()).await.map_err(Refused::Aws)?;
        if region.is_none() && token.host.as_deref() != Some(host) {
            let own = token.host.unwrap_or_default();
            return Err(Refused::Usage(format!(
                "{host} is not the host of a private registry of ECR (AWS says that yours is {own}); no token is given for \
                 it"
            )));
        }
        tokens.push((host.clone(), token));
    }
    Ok(tokens)
}

/// Puts the tokens into a docker config: all at once, readable by its owner only.
fn write(path: &Path, tokens: &[(String, IdentityToken)]) -> anyhow::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = match fs::read(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    let entries = tokens.iter().map(|(host, IdentityToken { token, .. })| {
        let auth = BASE64.encode(format!("{}:{}", token.username, token.password));
        (host.as_str(), auth)
    });
    let text = merged(text.as_deref(), entries).with_context(|| format!("can't use {}", path.display()))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
    let unfinished = directory.join(format!(".config.json.{}", std::process::id()));
    let result = replace(&unfinished, path, &text);
    if result.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    result.with_context(|| format!("can't write {}", path.display()))
}

fn replace(unfinished: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// A docker config with these entries among its own.
fn merged<'a>(config: Option<&[u8]>, entries: impl IntoIterator<Item = (&'a str, String)>) -> anyhow::Result<String> {
    let mut config: Map<String, Value> = match config {
        Some(text) if !text.trim_ascii().is_empty() => {
            // The error would show what is in the file.
            serde_json::from_slice(text).map_err(|_| anyhow!("it is not a JSON object"))?
        }
        _ => Map::new(),
    };
    for (host, auth) in entries {
        let helper = config.get("credHelpers").and_then(|helpers| helpers.get(host)).or(config.get("credsStore"));
        if let Some(helper) = helper.and_then(Value::as_str) {
            bail!(
                "it leaves {host} to the credential helper {helper}, which docker asks instead of the file: use \
                 `ecr-operator login | docker login --username AWS --password-stdin {host}`"
            );
        }
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().context("its \"auths\" is not a JSON object")?;
        auths.insert(host.to_owned(), json!({"auth": auth}));
    }
    Ok(serde_json::to_string_pretty(&config)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(config: &str, host: &str) -> anyhow::Result<Value> {
        let text = merged(Some(config.as_bytes()), [(host, "QVdTOnQ=".to_owned())])?;
        Ok(serde_json::from_str(&text)?)
    }

    #[test]
    fn what_others_wrote_stays() {
        let config = r#"{"auths": {"ghcr.io": {"auth": "eDp5"}, "e.io": {"auth": "old"}}, "psFormat": "table"}"#;
        let expected = json!({
            "auths": {"ghcr.io": {"auth": "eDp5"}, "e.io": {"auth": "QVdTOnQ="}}, "psFormat": "table",
        });
        assert_eq!(merge(config, "e.io").expect("merged"), expected);
        assert_eq!(merge("", "e.io").expect("merged"), json!({"auths": {"e.io": {"auth": "QVdTOnQ="}}}));
    }

    #[test]
    fn an_entry_that_docker_would_not_read_is_not_written() {
        for config in [r#"{"credsStore": "pass"}"#, r#"{"credHelpers": {"e.io": "ecr-login"}}"#] {
            let error = merge(config, "e.io").expect_err("refused").to_string();
            assert!(error.contains("credential helper"), "{error}");
        }
        assert!(merge(r#"{"credHelpers": {"other.io": "x"}}"#, "e.io").is_ok());
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_replaced_and_not_shown() {
        for config in ["secret", "[]", r#"{"auths": "secret"}"#] {
            let error = format!("{:#}", merge(config, "e.io").expect_err("refused"));
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
