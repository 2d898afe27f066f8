//! One run: two registries, an image, something to go wrong, a copy, and what must hold afterwards.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use oci_copy::{
    CopyReport, CopyRequest, Credentials, Engine, EngineConfig, Error, ErrorKind, PlatformSelection, RegistryConfig,
    StaticCredentials,
};

use crate::check::{nothing_is_corrupt, tags_are_complete};
use crate::images::{Content, Extras, Shape};
use crate::kinds::{Fault, Kind, Side};
use crate::network::{Transport, authority};
use crate::proxy::{Event, Proxy};
use crate::random::Random;
use crate::registry::{Guard, Manners, Registry, USER};

/// How often a request is tried.
const TRIES: usize = 4;
/// Nothing takes longer than this, however slow the machine is.
const GUARD: Duration = Duration::from_secs(120);

/// What is copied to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Tag,
    Digest,
    Subset,
    TwoTags,
    TwoDestinations,
}

/// What the destination has before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Nothing,
    SomeBlobs,
    OldTag,
    Untagged,
    AllOfIt,
}

/// What a run did, for the statistics.
pub(crate) struct Summary {
    pub(crate) fired: Vec<Kind>,
    pub(crate) outcome: &'static str,
}

struct Scene {
    ask: Ask,
    start: Start,
    old: Content,
    new: Content,
    /// What the tag names when it moves, and what the second tag names.
    other: Content,
    shape: Shape,
    faults: Vec<Fault>,
    source: Arc<Registry>,
    storage: Option<Arc<Registry>>,
    destination: Arc<Registry>,
    source_proxy: Arc<Proxy>,
    storage_proxy: Option<Arc<Proxy>>,
    destination_proxy: Arc<Proxy>,
    log: Arc<Mutex<Vec<String>>>,
}

pub(crate) async fn run(seed: u64) -> Result<Summary, String> {
    let mut random = Random::new(seed);
    let scene = Scene::set(&mut random).await;
    let result = match tokio::time::timeout(GUARD, scene.play(&mut random)).await {
        Ok(result) => result,
        Err(_) => Err(format!("it did not end within {GUARD:?}")),
    };
    result.map_err(|problem| {
        let Scene { ask, start, shape, faults, source, destination, log, .. } = &scene;
        let log = log.lock().unwrap().join("\n  ");
        format!(
            "seed {seed}: {problem}\n{ask:?} of {shape:?} onto {start:?}, {faults:#?}\nsource {:?}\ndestination {:?}\n  {log}\n\
             Again: FAULT_SEEDS={seed} cargo test -p oci-copy --test faults seeded",
            source.manners, destination.manners
        )
    })
}

impl Scene {
    async fn set(random: &mut Random) -> Self {
        let log = Arc::<Mutex<Vec<String>>>::default();
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..random.pick(&[0, 1, 1, 1, 1, 2, 2, 3]) {
            faults.extend(Fault::choose(random));
        }
        let lies = faults.iter().any(|fault| fault.kind.is_a_lie_of_the_destination());
        let guards = [Guard::Nobody, Guard::Basic, Guard::Token, Guard::Token];
        let manners = |random: &mut Random| Manners {
            guard: random.pick(&guards),
            mounts: random.percent(60),
            ranges: random.percent(70),
            referrers: random.percent(50),
            immutable: false,
            trusting: false,
        };
        let source = Arc::new(Registry::new(manners(random), "read-password"));
        let own = manners(random);
        let trusting = random.percent(40) && !lies;
        let own = Manners { immutable: random.percent(10), trusting, ..own };
        let destination = Arc::new(Registry::new(own, "write-password"));
        let same = random.percent(15);
        let source = if same { destination.clone() } else { source };

        let size = random.pick(&[3_000, 60_000, 400_000]);
        let base = [Bytes::from(random.bytes(size))];
        let extras = Extras { foreign_layers: true, referrers: true };
        let (old, _) = Content::make(random, &base, extras);
        let (new, shape) = Content::make(random, &base, extras);
        let (other, _) = Content::make(random, &base, extras);
        new.put(&source, "a", Some("v1"));
        other.put(&source, "a", Some("v2"));
        let start = random.pick(&[
            Start::Nothing,
            Start::Nothing,
            Start::SomeBlobs,
            Start::OldTag,
            Start::OldTag,
            Start::Untagged,
            Start::AllOfIt,
        ]);
        for repository in ["b", "c"] {
            destination.repository(repository, |_| ());
        }
        match start {
            Start::Nothing => {}
            Start::SomeBlobs => destination.repository("b", |it| {
                it.blobs.extend(new.blobs.iter().step_by(2).map(|(digest, bytes)| (digest.clone(), bytes.clone())));
            }),
            Start::OldTag => old.put(&destination, "b", Some("v1")),
            Start::Untagged => new.put(&destination, "b", None),
            Start::AllOfIt => new.put(&destination, "b", Some("v1")),
        }

        let transports = [Transport::Plain, Transport::Plain, Transport::Tls, Transport::TlsHttp2, Transport::TlsHttp2];
        let (to, from) = (random.pick(&transports), random.pick(&transports));
        let destination_proxy = Proxy::start(Side::Destination, to, destination.clone(), log.clone()).await;
        let source_proxy = if same {
            faults.iter_mut().for_each(|fault| fault.side = Side::Destination);
            destination_proxy.clone()
        } else {
            Proxy::start(Side::Source, from, source.clone(), log.clone()).await
        };
        let (mut storage, mut storage_proxy) = (None, None);
        if !same && random.percent(30) {
            let manners = Manners { guard: Guard::Nobody, ..source.manners };
            let registry = Arc::new(Registry::new(manners, "nobody's"));
            new.put(&registry, "a", None);
            other.put(&registry, "a", None);
            let proxy = Proxy::start(Side::Storage, from, registry.clone(), log.clone()).await;
            source.keep_blobs_at(proxy.origin.clone());
            (storage, storage_proxy) = (Some(registry), Some(proxy));
        }
        let ask = random.pick(&[Ask::Tag, Ask::Tag, Ask::Digest, Ask::Subset, Ask::TwoTags, Ask::TwoDestinations]);
        Self {
            ask,
            start,
            old,
            new,
            other,
            shape,
            faults,
            source,
            storage,
            destination,
            source_proxy,
            storage_proxy,
            destination_proxy,
            log,
        }
    }

    fn proxies(&self) -> impl Iterator<Item = &Arc<Proxy>> {
        [&self.source_proxy, &self.destination_proxy].into_iter().chain(&self.storage_proxy)
    }

    /// What happens at the source while it is read.
    fn event(&self) -> Event {
        let (source, destination, other) =
            (self.source.clone(), self.destination.clone(), self.other.root().digest.clone());
        Arc::new(move |kind| match kind {
            Kind::TagMoves => source.repository("a", |it| {
                it.tags.insert("v1".to_owned(), other.clone());
            }),
            _ => {
                source.revoke_tokens();
                destination.revoke_tokens();
            }
        })
    }

    fn engine(&self, patient: bool) -> Engine {
        let mut config = EngineConfig::default();
        config.retry.max_tries = TRIES;
        config.retry.min_delay = Duration::from_millis(1);
        config.retry.max_delay = Duration::from_millis(5);
        config.retry.max_retry_after = Duration::from_secs(2);
        if !patient {
            config.response_timeout = Duration::from_millis(400);
            config.idle_timeout = Duration::from_millis(400);
            config.commit_timeout = Duration::from_millis(400);
        }
        [&self.source_proxy, &self.destination_proxy].into_iter().fold(Engine::new(config), |engine, proxy| {
            let registry = RegistryConfig::new(proxy.host()).unwrap().endpoint(&proxy.origin).unwrap();
            engine.with_registry(registry.ca_bundle(authority()).unwrap()).unwrap()
        })
    }

    fn requests(&self) -> Vec<CopyRequest> {
        let (from, to) = (self.source_proxy.host(), self.destination_proxy.host());
        let digest = &self.new.root().digest;
        let named = match self.ask {
            Ask::Digest => vec![(format!("a@{digest}"), "b:v1")],
            Ask::TwoTags => vec![("a:v1".to_owned(), "b:v1"), ("a:v2".to_owned(), "b:v2")],
            _ => vec![("a:v1".to_owned(), "b:v1")],
        };
        let credentials =
            |host: &str, password| Arc::new(StaticCredentials::new(host, Credentials::new(USER, password)));
        let read = if from == to { "write-password" } else { "read-password" };
        let requests = named.into_iter().map(|(source, destination)| {
            let source = format!("{from}/{source}").parse().unwrap();
            let platforms = match self.ask {
                Ask::Subset => PlatformSelection::only(["linux/amd64".parse().unwrap()]),
                _ => PlatformSelection::All,
            };
            CopyRequest::new(source, format!("{to}/{destination}").parse().unwrap())
                .source_credentials(credentials(from, read))
                .destination_credentials(credentials(to, "write-password"))
                .platforms(platforms)
                .deadline(Duration::from_secs(60))
        });
        requests.collect()
    }

    async fn copy(&self, engine: &Engine) -> Vec<Result<CopyReport, Error>> {
        let mut requests = self.requests();
        if self.ask == Ask::TwoDestinations {
            let request = requests.remove(0);
            let other = format!("{}/c:v1", self.destination_proxy.host()).parse().unwrap();
            let destinations = vec![request.destination.clone(), other];
            return engine.copy_to_all(request, destinations).await;
        }
        futures::future::join_all(requests.into_iter().map(|request| engine.copy(request))).await
    }

    async fn play(&self, random: &mut Random) -> Result<Summary, String> {
        for proxy in self.proxies() {
            proxy.plan(&self.faults, self.event());
        }
        let patient = !self.faults.iter().any(|fault| fault.kind.stalls());
        let engine = self.engine(patient);
        let results = self.copy(&engine).await;
        let mut fired: Vec<Kind> = self.proxies().flat_map(|proxy| proxy.fired()).collect();
        if Arc::ptr_eq(&self.source_proxy, &self.destination_proxy) {
            fired.truncate(fired.len() / 2);
        }
        for result in &results {
            self.judge(result, &fired, patient)?;
        }
        self.check(&results, &fired)?;
        let seen = self.destination.blob_puts();
        let hidden = [Kind::HiddenBlob, Kind::RepositoryGone];
        if !fired.iter().any(|kind| hidden.contains(kind)) {
            let mut once = HashSet::new();
            for put in seen.iter().filter(|put| put.committed) {
                if !once.insert((&put.repository, &put.digest)) {
                    return Err(format!("the committed blob {} was sent again", put.digest));
                }
            }
        }

        // Afterwards all is well, and what is missing is made up for: by the same engine, or as after a restart.
        self.proxies().for_each(|proxy| proxy.heal());
        self.log.lock().unwrap().push("all is well".to_owned());
        let had = ["b", "c"].map(|name| self.destination.repository(name, |it| it.clone()));
        let again = if random.percent(50) && patient { engine } else { self.engine(true) };
        let results = self.copy(&again).await;
        for result in &results {
            match result {
                Ok(_) => {}
                Err(error) if self.is_immutable() && error.kind() == ErrorKind::TagImmutable => {}
                Err(error) => return Err(format!("it does not succeed when all is well again: {error}")),
            }
        }
        self.check(&results, &fired)?;
        for put in &self.destination.blob_puts()[seen.len()..] {
            let repository = &had[usize::from(put.repository == "c")];
            if repository.blobs.contains_key(&put.digest) {
                return Err(format!("the second run sent the blob {} again", put.digest));
            }
        }
        self.nobody_elses_credentials()?;
        let failed = results.iter().any(Result::is_err);
        Ok(Summary { fired, outcome: if failed { "refused" } else { "success" } })
    }

    fn is_immutable(&self) -> bool {
        self.destination.manners.immutable
    }

    /// Success, or a clear error; and success where the engine had every chance.
    fn judge(&self, result: &Result<CopyReport, Error>, fired: &[Kind], patient: bool) -> Result<(), String> {
        let Err(error) = result else { return Ok(()) };
        let text = error.to_string();
        let hosts = [self.source_proxy.host(), self.destination_proxy.host()];
        if !hosts.iter().any(|host| text.contains(host)) {
            return Err(format!("the error does not say where: {text}"));
        }
        if text.len() > 1_500 || text.contains(char::is_control) {
            return Err(format!("the error can't be shown: {text}"));
        }
        let shown = format!("{text} {error:?} {:?}", std::error::Error::source(error));
        let basic = [&self.source, &self.destination].map(|registry| registry.basic().replace("Basic ", ""));
        let secrets = ["-password", "token-of", "X-Amz"].into_iter().chain(basic.iter().map(String::as_str));
        if let Some(secret) = secrets.into_iter().find(|secret| shown.contains(secret)) {
            return Err(format!("the error tells the secret {secret}: {shown}"));
        }
        if error.kind() == ErrorKind::Other {
            return Err(format!("the error is of no kind: {text}"));
        }
        if self.is_immutable() && error.kind() == ErrorKind::TagImmutable {
            return Ok(());
        }
        let harmless = |kind: &&Kind| {
            matches!(kind, Kind::SlowDrip | Kind::ConnectionCloses | Kind::RangeIgnored | Kind::TagMoves)
        };
        let hits = fired.iter().filter(|kind| !harmless(kind)).count();
        let expiries = fired.iter().filter(|kind| **kind == Kind::TokenExpires).count();
        let survivable = fired.iter().all(|kind| kind.must_be_survived());
        // A run that waits for nothing may give up on a busy machine.
        if survivable && patient && hits < TRIES && expiries <= 1 {
            return Err(format!("it should have succeeded in spite of {fired:?}: {text}"));
        }
        Ok(())
    }

    /// What must hold of the destination at any time.
    fn check(&self, results: &[Result<CopyReport, Error>], fired: &[Kind]) -> Result<(), String> {
        let sources = [&self.old, &self.new, &self.other];
        let roots: HashSet<String> = sources.iter().map(|content| content.root().digest.clone()).collect();
        let whole = (self.ask != Ask::Subset).then_some(&roots);
        for name in ["b", "c"] {
            self.destination.repository(name, |it| {
                tags_are_complete(it, &sources, whole)?;
                nothing_is_corrupt(it)
            })?;
        }
        let tags = match self.ask {
            Ask::TwoTags => [("b", "v1"), ("b", "v2")],
            _ => [("b", "v1"), ("c", "v1")],
        };
        for (result, (name, tag)) in results.iter().zip(tags) {
            let Ok(report) = result else { continue };
            let there = self.destination.repository(name, |it| it.tags.get(tag).cloned());
            if there.as_deref() != Some(report.digest.as_str()) {
                return Err(format!("it reports {} and the tag {tag} names {there:?}", report.digest));
            }
            let moved = fired.contains(&Kind::TagMoves) || tag == "v2";
            let right =
                |digest: &str| digest == self.new.root().digest || (moved && digest == self.other.root().digest);
            if !right(report.source_digest.as_str()) {
                return Err(format!("the source never named {}", report.source_digest));
            }
        }
        Ok(())
    }

    /// Each server has seen its own secrets only.
    fn nobody_elses_credentials(&self) -> Result<(), String> {
        for registry in [&self.source, &self.destination] {
            if let Some(foreign) = registry.authorizations().iter().find(|value| !registry.owns(value)) {
                return Err(format!("credentials of another registry were sent: {foreign}"));
            }
        }
        match self.storage.as_ref().map(|storage| storage.authorizations()) {
            Some(seen) if !seen.is_empty() => Err(format!("the storage was sent credentials: {seen:?}")),
            _ => Ok(()),
        }
    }
}
