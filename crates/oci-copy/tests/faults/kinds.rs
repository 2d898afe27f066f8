//! What can go wrong, and with which requests.

use axum::extract::Request;
use axum::http::Method;

use crate::random::Random;
use crate::registry::split;

/// Which server a fault is played by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
    /// Where the source's blobs are, if not with the source.
    Storage,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Token,
    HeadManifest,
    GetManifest,
    PutManifest,
    HeadBlob,
    GetBlob,
    StartUpload,
    Upload,
    CancelUpload,
    Other,
}

impl Op {
    pub(crate) fn of(request: &Request) -> Self {
        let path = request.uri().path();
        if path == "/token" {
            return Self::Token;
        }
        if path.starts_with("/storage/") {
            return Self::GetBlob;
        }
        match (request.method(), split(path).map(|(_, kind, _)| kind)) {
            (&Method::HEAD, Some("manifests")) => Self::HeadManifest,
            (&Method::GET, Some("manifests")) => Self::GetManifest,
            (&Method::PUT, Some("manifests")) => Self::PutManifest,
            (&Method::HEAD, Some("blobs")) => Self::HeadBlob,
            (&Method::GET, Some("blobs")) => Self::GetBlob,
            (&Method::POST, Some("blobs")) => Self::StartUpload,
            (&Method::PUT | &Method::PATCH, Some("blobs")) => Self::Upload,
            (&Method::DELETE, Some("blobs")) => Self::CancelUpload,
            _ => Self::Other,
        }
    }
}

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Unauthorized,
    Forbidden,
    RequestTimeout,
    TooMany,
    TooManyRetryNow,
    TooManyRetryLater,
    InternalError,
    BadGateway,
    Unavailable,
    UnavailableRetryNow,
    GatewayTimeout,
    /// An answer before the request's body was read.
    EarlyUnavailable,
    ResetBeforeAnswer,
    ResetInRequest,
    ResetAfterHeaders,
    ResetInBody,
    ResetAfterBody,
    /// The request took effect, and the connection broke before the answer.
    LostAnswer,
    /// A body that ends early as if that were its end.
    Truncated,
    StallBeforeAnswer,
    StallInRequest,
    StallInBody,
    SlowDrip,
    ConnectionCloses,
    ConnectionRefused,
    NonsenseInsteadOfTls,
    CertificateOfAStranger,
    NameWithoutAddress,
    RedirectLoop,
    FlippedBit,
    ExtraBytes,
    EmptyBody,
    RangeIgnored,
    WrongRange,
    /// A mount that is confirmed and didn't take place.
    StaleMount,
    /// A blob that is said to be there and isn't.
    StaleBlob,
    /// A blob that is there and is said not to be.
    HiddenBlob,
    /// A manifest that is said to be there and isn't.
    StaleManifest,
    LostUpload,
    SpentUpload,
    /// A commit that is confirmed and didn't take place.
    FalseCommit,
    NoLocation,
    ForeignLocation,
    WrongDigestHeader,
    WrongMediaType,
    CaptivePortal,
    RepositoryGone,
    TagMoves,
    TokenExpires,
}

use Kind as K;
use Op::{GetBlob, GetManifest, HeadBlob, HeadManifest, PutManifest, StartUpload, Token, Upload};
use Side::{Destination, Source, Storage};

/// Requests of a copy, as they come.
const ALL: &[(Side, Op)] = &[
    (Source, Token),
    (Source, HeadManifest),
    (Source, GetManifest),
    (Source, GetBlob),
    (Storage, GetBlob),
    (Destination, Token),
    (Destination, HeadManifest),
    (Destination, GetManifest),
    (Destination, PutManifest),
    (Destination, HeadBlob),
    (Destination, StartUpload),
    (Destination, Upload),
];
const WITH_BODY: &[(Side, Op)] = &[
    (Source, Token),
    (Source, GetManifest),
    (Source, GetBlob),
    (Source, GetBlob),
    (Storage, GetBlob),
    (Destination, Token),
    (Destination, GetManifest),
];
const REGISTRY: &[(Side, Op)] = &[
    (Source, HeadManifest),
    (Source, GetManifest),
    (Source, GetBlob),
    (Destination, HeadManifest),
    (Destination, GetManifest),
    (Destination, PutManifest),
    (Destination, HeadBlob),
    (Destination, StartUpload),
    (Destination, Upload),
];
const BLOBS: &[(Side, Op)] = &[(Source, GetBlob), (Storage, GetBlob)];
const WRITES: &[(Side, Op)] = &[(Destination, Upload), (Destination, PutManifest)];
const MANIFESTS: &[(Side, Op)] =
    &[(Source, HeadManifest), (Source, GetManifest), (Destination, HeadManifest), (Destination, PutManifest)];

/// Every kind, and the requests that it can hit.
pub(crate) const KINDS: &[(Kind, &[(Side, Op)])] = &[
    (K::Unauthorized, REGISTRY),
    (K::Forbidden, REGISTRY),
    (K::RequestTimeout, ALL),
    (K::TooMany, ALL),
    (K::TooManyRetryNow, ALL),
    (K::TooManyRetryLater, ALL),
    (K::InternalError, ALL),
    (K::BadGateway, ALL),
    (K::Unavailable, ALL),
    (K::UnavailableRetryNow, ALL),
    (K::GatewayTimeout, ALL),
    (K::EarlyUnavailable, WRITES),
    (K::ResetBeforeAnswer, ALL),
    (K::ResetInRequest, WRITES),
    (K::ResetAfterHeaders, WITH_BODY),
    (K::ResetInBody, WITH_BODY),
    (K::ResetAfterBody, ALL),
    (K::LostAnswer, ALL),
    (K::Truncated, WITH_BODY),
    (K::StallBeforeAnswer, ALL),
    (K::StallInRequest, WRITES),
    (K::StallInBody, WITH_BODY),
    (K::SlowDrip, WITH_BODY),
    (K::ConnectionCloses, ALL),
    (K::ConnectionRefused, ALL),
    (K::NonsenseInsteadOfTls, ALL),
    (K::CertificateOfAStranger, ALL),
    (K::NameWithoutAddress, BLOBS),
    (K::RedirectLoop, &[(Source, HeadManifest), (Source, GetManifest), (Source, GetBlob), (Storage, GetBlob)]),
    (K::FlippedBit, &[(Source, GetManifest), (Source, GetBlob), (Storage, GetBlob)]),
    (K::ExtraBytes, &[(Source, GetManifest), (Source, GetBlob), (Storage, GetBlob)]),
    (K::EmptyBody, &[(Source, Token), (Source, GetManifest), (Source, GetBlob), (Storage, GetBlob)]),
    (K::RangeIgnored, BLOBS),
    (K::WrongRange, BLOBS),
    (K::StaleMount, &[(Destination, StartUpload)]),
    (K::StaleBlob, &[(Destination, HeadBlob)]),
    (K::HiddenBlob, &[(Destination, HeadBlob)]),
    (K::StaleManifest, &[(Destination, HeadManifest)]),
    (K::LostUpload, &[(Destination, Upload)]),
    (K::SpentUpload, &[(Destination, Upload)]),
    (K::FalseCommit, &[(Destination, Upload)]),
    (K::NoLocation, &[(Destination, StartUpload)]),
    (K::ForeignLocation, &[(Destination, StartUpload)]),
    (K::WrongDigestHeader, MANIFESTS),
    (K::WrongMediaType, &[(Source, HeadManifest), (Source, GetManifest)]),
    (K::CaptivePortal, &[(Source, HeadManifest), (Source, GetManifest), (Source, GetBlob), (Storage, GetBlob)]),
    (K::RepositoryGone, REGISTRY),
    (K::TagMoves, &[(Source, HeadManifest), (Source, GetManifest), (Source, GetBlob)]),
    (K::TokenExpires, REGISTRY),
];

impl Kind {
    /// Whether the engine must get over a few of these without anybody's help.
    pub(crate) fn must_be_survived(self) -> bool {
        matches!(
            self,
            K::RequestTimeout
                | K::TooMany
                | K::TooManyRetryNow
                | K::InternalError
                | K::BadGateway
                | K::Unavailable
                | K::UnavailableRetryNow
                | K::GatewayTimeout
                | K::EarlyUnavailable
                | K::ResetBeforeAnswer
                | K::ResetInRequest
                | K::ResetAfterHeaders
                | K::ResetInBody
                | K::ResetAfterBody
                | K::LostAnswer
                | K::SlowDrip
                | K::ConnectionCloses
                | K::NameWithoutAddress
                | K::RangeIgnored
                | K::HiddenBlob
                | K::LostUpload
                | K::SpentUpload
                | K::TagMoves
                | K::TokenExpires
        )
    }

    /// Whether the destination says what isn't so: then its own checks are what keeps a tag from naming something
    /// incomplete.
    pub(crate) fn is_a_lie_of_the_destination(self) -> bool {
        matches!(self, K::StaleMount | K::StaleBlob | K::StaleManifest | K::FalseCommit)
    }

    pub(crate) fn stalls(self) -> bool {
        matches!(self, K::StallBeforeAnswer | K::StallInRequest | K::StallInBody)
    }
}

/// A failure, and when it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) side: Side,
    pub(crate) op: Op,
    /// So many of these requests pass before.
    pub(crate) skip: u32,
    /// So many of them fail then.
    pub(crate) times: u32,
}

impl Fault {
    pub(crate) fn choose(random: &mut Random) -> Vec<Self> {
        let (kind, places) = KINDS[random.below(KINDS.len())];
        let (side, op) = random.pick(places);
        let skip = u32::try_from(random.pick(&[0, 0, 0, 1, 1, 2, 3, 5])).unwrap();
        let forever = u32::MAX;
        let times = match kind {
            K::TagMoves | K::TokenExpires | K::ConnectionRefused | K::NonsenseInsteadOfTls => 1,
            K::RangeIgnored | K::SlowDrip | K::ConnectionCloses => forever,
            kind if kind.stalls() => random.pick(&[1, 1, 2]),
            _ => random.pick(&[1, 1, 1, 2, 2, 3, forever]),
        };
        let fault = Self { kind, side, op, skip, times };
        // What goes wrong with a resumed download shows only after the download broke.
        let breaks = matches!(kind, K::RangeIgnored | K::WrongRange);
        let before = Self { kind: K::ResetInBody, times: 1, skip: 0, ..fault };
        if breaks { vec![before, fault] } else { vec![fault] }
    }
}
