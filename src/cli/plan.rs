//! `ecr-operator plan`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::trusted_root;
use crate::keychain::Keychain;
use crate::manifests;
use crate::plan::{self, Question, Sources};
use crate::registries::Registries;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file or a directory of manifests, or `-` for the standard input. Can be given several times.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The manifests as they are now, such as the target branch of a pull request. What is missing in FILE would be
    /// deleted. Can be given several times.
    #[arg(long, value_name = "FILE")]
    base: Vec<PathBuf>,

    /// UID of the namespace `kube-system` of the cluster: the owner of repositories is compared with it. Without it any
    /// cluster's owner tags with the object's namespace and name count as its own.
    #[arg(long, value_name = "UID")]
    cluster: Option<String>,

    /// Region of the EcrRegistry `default`, if the files don't have it.
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    region: Option<String>,

    /// Also say which images mirrors would copy. Their sources are asked for tags and digests, with the credentials that
    /// `docker login` and credential helpers left; no image is read.
    #[arg(long)]
    images: bool,

    /// With --images, also say how much there is to copy. That reads the manifests of the images, which Docker Hub counts as
    /// pulls.
    #[arg(long, requires = "images")]
    sizes: bool,

    /// Also say which pods of the files a rewrite would change at their next start, and which an ImageEnforcement of the files does
    /// not allow then: `kubectl get pods,namespaces,imagemirrors,ecrregistries
    /// --all-namespaces -o yaml | ecr-operator plan --pods -f -`.
    #[arg(long)]
    pods: bool,

    /// With --pods, name of the EcrRegistry that pods pull from, where an ImageMirror has several destinations. The same as for `run`.
    #[arg(long, env = "ECR_OPERATOR_OWN_REGISTRY", value_name = "NAME", requires = "pods")]
    own_registry: Option<String>,

    /// File that says how the sources' registries are reached. The same as for `run`.
    #[arg(long, env = "ECR_OPERATOR_REGISTRIES_CONFIG", value_name = "FILE")]
    registries_config: Option<PathBuf>,

    /// File with the Sigstore trusted root for mirrors that verify keyless signatures. The same as for `run`.
    #[arg(long, env = "ECR_OPERATOR_TRUSTED_ROOT", value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    /// The namespace of objects that name none.
    #[arg(short, long, default_value = "default")]
    namespace: String,

    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// For machines.
    Json,
}

fn sources(args: &Args) -> anyhow::Result<Sources> {
    let engine = Registries::read_if_given(args.registries_config.as_deref())?.engine()?;
    let trusted_root = Arc::new(trusted_root(args.trusted_root.as_deref())?);
    Ok(Sources { engine, keychain: Arc::new(Keychain::open()?), trusted_root, sizes: args.sizes })
}

/// Exits with 0 where nothing would change, with 2 where something would, and with 1 where an object is refused.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let manifests = manifests::read(&args.files, &args.namespace)?;
    let base = manifests::read(&args.base, &args.namespace)?;
    manifests::compare(&base, &manifests)?;
    let question = Question {
        manifests: &manifests,
        base: &base,
        cluster: args.cluster.as_deref(),
        region: args.region.as_deref(),
        pods: args.pods,
        own_registry: args.own_registry.as_deref(),
        sources: args.images.then(|| sources(args)).transpose()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(plan::plan(&question));
    let text = match args.output {
        Output::Text => report.text(),
        Output::Json => format!("{:#}\n", report.json()),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(match () {
        () if report.has_refusals() => ExitCode::FAILURE,
        () if report.has_changes() => ExitCode::from(2),
        () => ExitCode::SUCCESS,
    })
}
