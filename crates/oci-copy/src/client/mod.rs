//! Talking to one repository of one registry: authenticated requests, each with its timeouts, sent only where they may
//! go. What the requests mean is in [`manifests`], [`blobs`] and [`tags`].

pub(crate) mod answer;
pub(crate) mod blobs;
pub(crate) mod manifests;
pub(crate) mod reader;
pub(crate) mod redirects;
pub(crate) mod referrers;
pub(crate) mod registry;
pub(crate) mod spans;
pub(crate) mod tags;
pub(crate) mod transport;
pub(crate) mod upload;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::auth::Authorization;
use crate::auth::challenge::{self, Challenge};
use crate::auth::credentials::{CredentialSource, Credentials};
use crate::auth::token::{Token, TokenKey, read_token, token_url};
use crate::budget::{Pulls, Shortage};
use crate::config::EngineConfig;
use crate::error::{Error, ErrorKind, Operation, Place, Refusal};
use crate::guard::{Closed, Guard};
use crate::limit::{Limiter, Permit};
use crate::reference::Repository;
use answer::{Answer, RateLimits};
use registry::{HttpClient, Registry};

/// What a session may do with its repository. It asks for no more rights than it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    PullPush,
}

/// One side of a copy, or one look-up: a repository, and who asks.
pub(crate) struct Session {
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: Arc<EngineConfig>,
    pub(crate) repository: Repository,
    scope: String,
    source: Arc<dyn CredentialSource>,
    /// What the credential source said, once it was asked.
    credentials: tokio::sync::Mutex<Option<Option<Credentials>>>,
    watch: Watch,
}

/// Who hears of a session's requests, and who is asked before them.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) rate_limits: Arc<RateLimits>,
    /// What the session may spend of the registry's pull budget.
    pub(crate) pulls: Option<Pulls>,
    pub(crate) guard: Option<Arc<dyn Guard>>,
}

/// One request.
pub(crate) struct Call {
    pub(crate) place: Place,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// Another repository of the registry that the request also reads from.
    pub(crate) also_pull: Option<Repository>,
}

/// What a request was sent with.
struct Grant {
    authorization: Authorization,
    proof: Proof,
}

enum Proof {
    Token(TokenKey, Arc<str>),
    /// The registry sees these themselves.
    Basic(Credentials),
}

impl Session {
    pub(crate) fn new(
        registry: Arc<Registry>,
        config: Arc<EngineConfig>,
        repository: Repository,
        access: Access,
        source: Arc<dyn CredentialSource>,
        watch: Watch,
    ) -> Self {
        let scope = scope(&repository, access);
        Self { registry, config, repository, scope, source, credentials: Default::default(), watch }
    }

    pub(crate) fn place(&self, operation: Operation, subject: Option<&str>) -> Place {
        Place::new(operation, &self.repository, subject)
    }

    /// A URL below the repository. Its parts are validated names, digests and tags.
    pub(crate) fn url(&self, rest: &str) -> Url {
        let mut url = self.registry.endpoint().clone();
        url.set_path(&format!("/v2/{}/{rest}", self.repository.path()));
        url
    }

    pub(crate) fn call(&self, operation: Operation, subject: Option<&str>, method: Method, url: Url) -> Call {
        Call {
            place: self.place(operation, subject),
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            also_pull: None,
        }
    }

    /// Sends a request, authenticated as the registry wants it. Any status is an answer.
    ///
    /// What was sent along and is refused is renewed once. A first request, which found out what is wanted, isn't counted:
    /// a token may expire right after.
    pub(crate) async fn exchange(&self, call: &Call) -> Result<Answer, Error> {
        let mut first = Some(self.registry.first.enter().await);
        self.admit(call)?;
        let scope = self.scope_of(call);
        let mut grant = self.grant(&call.place, &scope).await?;
        let mut tries_left = if grant.is_none() { 2 } else { 1 };
        loop {
            let answer = self.dispatch(call, grant.as_ref()).await?;
            if !answer.own || tries_left == 0 || !self.learn(answer.status(), answer.headers(), grant.as_ref()).await? {
                return Ok(answer);
            }
            tries_left -= 1;
            drop(first.take());
            answer.drain(self.config.idle_timeout).await;
            grant = self.grant(&call.place, &scope).await?;
        }
    }

    /// Whether the guard lets a request through. Nobody keeps one back that brings or writes a blob or writes a manifest.
    fn admit(&self, call: &Call) -> Result<(), Error> {
        use Operation as Op;
        let looks =
            matches!(call.place.operation, Op::HeadManifest | Op::GetManifest | Op::ListTags | Op::ListReferrers);
        let Some(guard) = self.watch.guard.as_ref().filter(|_| looks) else { return Ok(()) };
        guard.admit(self.repository.host()).map_err(|Closed { kind, until, problem }| Error::Closed {
            place: Box::new(call.place.clone()),
            kind,
            until,
            problem,
        })
    }

    /// What the session may spend of the registry's pull budget, if it has one.
    pub(crate) fn pulls(&self) -> Option<&Pulls> {
        self.watch.pulls.as_ref()
    }

    /// The error that a budget is which is not enough.
    pub(crate) fn short(&self, shortage: Shortage) -> Error {
        Error::PullBudget { host: self.repository.host().to_owned(), shortage: Box::new(shortage) }
    }

    /// Tells the guard of a request that the registry did not take.
    fn failed(&self, error: Error) -> Error {
        let tell = match error.kind() {
            ErrorKind::Unreachable | ErrorKind::Tls | ErrorKind::Timeout => true,
            ErrorKind::RateLimited => !error.is_pull_limit(),
            _ => false,
        };
        if let Some(guard) = self.watch.guard.as_ref().filter(|_| tell) {
            guard.failed(self.repository.host(), &error);
        }
        error
    }

    /// Learns what an answer tells of pulls, and tells the guard that there was one.
    fn learn_limits(&self, operation: Operation, response: &Response, sent: SystemTime) {
        let host = self.repository.host();
        let told = self.watch.rate_limits.observe(host, response.headers());
        let about_manifests = matches!(operation, Operation::HeadManifest | Operation::GetManifest);
        if let Some(pulls) = self.pulls()
            && (told.is_some() || (about_manifests && response.status().is_success()))
        {
            pulls.purse().budget().observe(told.as_ref(), sent);
        }
        if let Some(guard) = &self.watch.guard {
            guard.answered(host);
        }
    }

    /// The rights that a request needs. There is a token for each set of them.
    fn scope_of(&self, call: &Call) -> Cow<'_, str> {
        match &call.also_pull {
            Some(other) => Cow::Owned(format!("{} {}", self.scope, scope(other, Access::Pull))),
            None => Cow::Borrowed(&self.scope),
        }
    }

    /// What to send along, by what is known of the registry: nothing as long as it has asked for nothing.
    async fn grant(&self, place: &Place, scope: &str) -> Result<Option<Grant>, Error> {
        match self.registry.auth.challenge() {
            None => Ok(None),
            Some(Challenge::Basic) => {
                let Some(credentials) = self.credentials(None).await? else { return Ok(None) };
                let authorization = Authorization::basic(&credentials).ok_or_else(|| self.unusable("credentials"))?;
                Ok(Some(Grant { authorization, proof: Proof::Basic(credentials) }))
            }
            Some(Challenge::Bearer { realm, service }) => {
                let belongs = self.registry.config.owns_realm(&realm);
                let credentials = if belongs { self.credentials(None).await? } else { None };
                let result = self.token(place, &realm, service.as_deref(), scope, credentials.as_ref()).await;
                let (key, token) = match (result, credentials) {
                    // The credentials may have been renewed since this session asked for them.
                    (Err(error), Some(refused)) if error.status() == Some(401) => {
                        match self.credentials(Some(&refused)).await? {
                            Some(renewed) if renewed != refused => {
                                self.token(place, &realm, service.as_deref(), scope, Some(&renewed)).await?
                            }
                            _ => return Err(error),
                        }
                    }
                    (result, _) => result?,
                };
                let authorization = Authorization::bearer(&token.text).ok_or_else(|| self.unusable("token"))?;
                Ok(Some(Grant { authorization, proof: Proof::Token(key, token.text) }))
            }
        }
    }

    /// The registry's credentials; asked for again if the ones given were refused.
    async fn credentials(&self, refused: Option<&Credentials>) -> Result<Option<Credentials>, Error> {
        let mut known = self.credentials.lock().await;
        match &*known {
            Some(credentials) if refused.is_none() || credentials.as_ref() != refused => Ok(credentials.clone()),
            _ => {
                let host = self.repository.host();
                let fresh = self
                    .source
                    .credentials(host)
                    .await
                    .map_err(|source| Error::Credentials { host: host.to_owned(), source })?;
                *known = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    fn unusable(&self, what: &str) -> Error {
        Error::Credentials {
            host: self.repository.host().to_owned(),
            source: format!("the {what} can't stand in an HTTP header").into(),
        }
    }

    async fn token(
        &self,
        place: &Place,
        realm: &Url,
        service: Option<&str>,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<(TokenKey, Token), Error> {
        let key = TokenKey {
            realm: realm.clone(),
            service: service.map(str::to_owned),
            scope: scope.to_owned(),
            identity: credentials.map(Credentials::identity),
        };
        let token = self.registry.auth.tokens.get(&key, self.fetch_token(place, &key, credentials)).await?;
        Ok((key, token))
    }

    /// Asks a realm for a token. A realm that doesn't belong to the registry gets no credentials, and is asked only over
    /// `https` and on public addresses.
    async fn fetch_token(
        &self,
        place: &Place,
        key: &TokenKey,
        credentials: Option<&Credentials>,
    ) -> Result<Token, Error> {
        let place = Place { operation: Operation::FetchToken, ..place.clone() };
        let belongs = self.registry.config.owns_realm(&key.realm);
        let host = key.realm.host_str().unwrap_or_default();
        if !belongs && key.realm.scheme() != "https" {
            let problem = format!(
                "its token realm {host} is asked only over https, unless the registry's configuration names it as a \
                 token realm"
            );
            return Err(Error::Blocked { place: Box::new(place), problem });
        }
        let client = if belongs { &self.registry.own } else { &self.registry.elsewhere };
        let authorization = match credentials.filter(|_| belongs) {
            Some(credentials) => Some(Authorization::basic(credentials).ok_or_else(|| self.unusable("credentials"))?),
            None => None,
        };
        let headers = HeaderMap::new();
        let response =
            self.send(client, &place, Method::GET, token_url(key), &headers, None, authorization.as_ref()).await;
        let response = response.map_err(|error| self.failed(error))?;
        let answer = Answer::new(response, belongs, authorization);
        if !answer.status().is_success() {
            return Err(self.refuse_token(place, answer, host, belongs));
        }
        let body = answer.read(&place, answer::MAX_SMALL_BODY, self.config.idle_timeout).await?;
        read_token(&body).map_err(|problem| Error::Protocol {
            place: Box::new(place),
            problem: format!("the token realm {host}: {problem}"),
        })
    }

    /// A realm's refusal. What it says stays with us.
    fn refuse_token(&self, place: Place, answer: Answer, realm: &str, belongs: bool) -> Error {
        let note = if !belongs {
            self.foreign_note(realm)
        } else if answer.authorization.is_some() {
            format!("token realm {realm}, with credentials")
        } else {
            format!("token realm {realm}, without credentials")
        };
        let retry_at = answer.retry_at();
        let status = answer.status().as_u16();
        let refusal =
            Refusal { place, status, code: None, message: None, retry_at, note: Some(note), exhausted: false };
        self.failed(refusal.into())
    }

    fn foreign_note(&self, realm: &str) -> String {
        format!(
            "credentials were not sent to the token realm {realm}, which does not belong to {} by configuration",
            self.repository.host()
        )
    }

    /// Learns from a refusal. Says whether another try can do better.
    async fn learn(&self, status: StatusCode, headers: &HeaderMap, grant: Option<&Grant>) -> Result<bool, Error> {
        // ECR says 403, and asks for nothing, when a token has run out; and so does everybody who means it.
        if status == StatusCode::FORBIDDEN {
            return match grant {
                Some(Grant { proof: Proof::Basic(used), .. }) => self.has_others(used).await,
                _ => Ok(false),
            };
        }
        if status != StatusCode::UNAUTHORIZED {
            return Ok(false);
        }
        let values = headers.get_all(WWW_AUTHENTICATE).into_iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = challenge::choose(values) else { return Ok(false) };
        self.registry.auth.remember(challenge.clone());
        match (grant.map(|grant| &grant.proof), challenge) {
            (Some(Proof::Token(key, token)), _) => {
                self.registry.auth.tokens.forget(key, token).await;
                Ok(true)
            }
            (Some(Proof::Basic(used)), Challenge::Basic) => self.has_others(used).await,
            (None, Challenge::Basic) => Ok(self.credentials(None).await?.is_some()),
            (_, Challenge::Bearer { .. }) => Ok(true),
        }
    }

    /// Whether there are other credentials than those that were refused.
    async fn has_others(&self, refused: &Credentials) -> Result<bool, Error> {
        Ok(self.credentials(Some(refused)).await?.is_some_and(|renewed| renewed != *refused))
    }

    /// Sends a request, and follows redirects if it only reads.
    async fn dispatch(&self, call: &Call, grant: Option<&Grant>) -> Result<Answer, Error> {
        let reads = matches!(call.method, Method::GET | Method::HEAD);
        let mut url = call.url.clone();
        let mut own = true;
        for _ in 0..=redirects::MAX_HOPS {
            // Who has left the registry's origin comes back as a stranger.
            own = own && self.registry.is_own(&url);
            let client = match (own, call.place.operation) {
                (false, _) => &self.registry.elsewhere,
                (true, Operation::GetBlob) => &self.registry.bulk,
                (true, _) => &self.registry.own,
            };
            let authorization = grant.map(|grant| &grant.authorization).filter(|_| own);
            let permit = if own { self.permit(call.place.operation).await } else { None };
            let sent = tokio::time::Instant::now();
            let clock = self.pulls().map_or_else(SystemTime::now, |pulls| pulls.purse().budget().now());
            let response = self
                .send(
                    client,
                    &call.place,
                    call.method.clone(),
                    url.clone(),
                    &call.headers,
                    call.body.clone(),
                    authorization,
                )
                .await
                .map_err(|error| if own { self.failed(error) } else { error })?;
            if own {
                self.learn_limits(call.place.operation, &response, clock);
                self.heed(call.place.operation, &response, sent, permit.as_ref());
            }
            let location = response.headers().get(LOCATION).filter(|_| reads && is_redirect(response.status()));
            let Some(location) = location else {
                return Ok(Answer::new(response, own, authorization.cloned()));
            };
            let location = location.to_str().unwrap_or_default();
            url = redirects::next(&url, location)
                .map_err(|problem| Error::Blocked { place: Box::new(call.place.clone()), problem })?;
        }
        Err(Error::Protocol {
            place: Box::new(call.place.clone()),
            problem: format!("it redirects more than {} times", redirects::MAX_HOPS),
        })
    }

    /// Waits for the turn of a small request. Blobs wait elsewhere, for as long as their bytes flow.
    async fn permit(&self, operation: Operation) -> Option<Permit> {
        let limits = &self.registry.limits;
        match operation {
            Operation::GetBlob | Operation::UploadBlob => None,
            Operation::PutManifest => {
                let permit = limits.puts.acquire().await;
                if let Some(pace) = &limits.put_pace {
                    pace.wait().await;
                }
                Some(permit)
            }
            _ => Some(limits.requests.acquire().await),
        }
    }

    /// Adapts to what an answer says of the registry's state.
    pub(crate) fn heed(
        &self,
        operation: Operation,
        response: &Response,
        sent: tokio::time::Instant,
        permit: Option<&Permit>,
    ) {
        // A pull budget that is used up tells nothing of what the registry bears.
        let used_up = response.status() == StatusCode::TOO_MANY_REQUESTS && answer::none_left(response.headers());
        if used_up || !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            if let Some(permit) = permit {
                permit.answered();
            }
            return;
        }
        let limiter = self.limiter(operation);
        limiter.overloaded(sent);
        // Others of the kind needn't hear the same. A wait that is too long ends what heard of it, and holds up nobody else.
        let wait = answer::retry_after(response.headers()).and_then(|at| at.duration_since(SystemTime::now()).ok());
        if let Some(wait) = wait.filter(|wait| *wait <= self.config.retry.max_retry_after) {
            limiter.pause(wait);
        }
    }

    fn limiter(&self, operation: Operation) -> &Arc<Limiter> {
        let limits = &self.registry.limits;
        match operation {
            Operation::GetBlob => &limits.reads,
            Operation::UploadBlob => &limits.writes,
            Operation::PutManifest => &limits.puts,
            _ => &limits.requests,
        }
    }

    /// Sends one request and waits for the answer's headers.
    #[allow(clippy::too_many_arguments)]
    async fn send(
        &self,
        client: &HttpClient,
        place: &Place,
        method: Method,
        url: Url,
        headers: &HeaderMap,
        body: Option<Bytes>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, Error> {
        client.reach.check_url(&url).await.map_err(|blocked| self.blocked(place, &blocked))?;
        if !method.is_safe() {
            may_write(&self.config, place)?;
        }
        let mut request = client.http.request(method.clone(), url.clone()).headers(headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization.header.clone());
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let limit = self.config.response_timeout;
        let sending = async {
            match tokio::time::timeout(limit, request.send()).await {
                Ok(result) => result.map_err(|error| transport::failure(place, error, self.config.connect_timeout)),
                Err(_) => Err(timed_out(place, "answer", limit)),
            }
        };
        spans::traced(place, &method, &url, sending).await
    }

    fn blocked(&self, place: &Place, blocked: &crate::net::BlockedAddress) -> Error {
        Error::Blocked { place: Box::new(place.clone()), problem: transport::blocked_text(blocked) }
    }

    /// The error that an answer is.
    pub(crate) async fn refuse(&self, place: Place, answer: Answer) -> Error {
        let note = match (answer.status(), self.registry.auth.challenge()) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(Challenge::Bearer { realm, .. }))
                if !self.registry.config.owns_realm(&realm) =>
            {
                Some(self.foreign_note(realm.host_str().unwrap_or_default()))
            }
            (StatusCode::UNAUTHORIZED, _) if answer.authorization.is_none() => {
                Some("no credentials were sent".to_owned())
            }
            _ => None,
        };
        let retry_at = answer.retry_at();
        let error: Error = answer.into_refusal(place, note, self.config.idle_timeout).await.into();
        if let Some(pulls) = self.pulls().filter(|_| error.is_pull_limit()) {
            pulls.purse().budget().was_refused(retry_at);
        }
        self.failed(error)
    }
}

/// Whether something may be written now.
pub(crate) fn may_write(config: &EngineConfig, place: &Place) -> Result<(), Error> {
    config.gate.check().map_err(|problem| Error::Blocked { place: Box::new(place.clone()), problem })
}

fn scope(repository: &Repository, access: Access) -> String {
    let actions = match access {
        Access::Pull => "pull",
        Access::PullPush => "pull,push",
    };
    format!("repository:{}:{actions}", repository.path())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

pub(crate) fn timed_out(place: &Place, awaited: &'static str, after: Duration) -> Error {
    Error::Timeout { place: Box::new(place.clone()), awaited, after }
}

pub(crate) fn protocol(place: &Place, problem: impl Into<String>) -> Error {
    Error::Protocol { place: Box::new(place.clone()), problem: problem.into() }
}
