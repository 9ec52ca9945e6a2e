//! May this caller call this method? Decided here alone, from the right that the proto declares and
//! from what the caller shows: a certificate's role, a token or the cookie.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use pentad_api::{Failure, Right};
use pentad_trust::{Certificate, Role, Standing, Tokens};
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};

use super::lease::Lease;
use super::refused::Refused;
use super::{ClientCertificate, Method, Origin, refusal};
use crate::cookie::Cookie;
use crate::limits::Limits;
use crate::trust::{Trust, unix_time};

const SCHEME: &str = "Bearer";

/// Knows who holds which rights.
#[derive(Clone, Debug)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cookie: Cookie,
    cookie_file: PathBuf,
    trust: Trust,
}

/// Who calls, as far as it was found out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Whoever owns the node's files, and the services of this process.
    Owner,
    /// The holder of a token, by its name.
    Token(Arc<str>),
    /// The holder of a certificate, by its name.
    Certificate(Arc<str>),
    /// Somebody who needs to show nothing.
    Stranger(IpAddr),
}

/// Why a call is refused; what its caller is told, [`Gate::failure`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Undeclared,
    NoCredential,
    Unknown,
    UnknownToken,
    Expired,
    Revoked,
    /// The cookie, from another machine.
    CookieFromAfar,
    /// A certificate that was good when the connection began.
    StaleCertificate,
    NoRole,
    OtherOrganisation,
    RoleMayNot(Role),
    MissingRight(Right),
}

impl Refusal {
    /// Its name in the metric.
    const fn label(&self) -> &'static str {
        match self {
            Self::Undeclared => "undeclared",
            Self::NoCredential => "none",
            Self::Unknown | Self::UnknownToken => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::CookieFromAfar => "cookie_from_afar",
            Self::StaleCertificate => "stale_certificate",
            Self::NoRole => "no_role",
            Self::OtherOrganisation => "other_organisation",
            Self::RoleMayNot(_) => "role",
            Self::MissingRight(_) => "right",
        }
    }
}

impl Gate {
    /// Lets in the holders of `cookie`; `cookie_file` is where a refused caller on this machine is
    /// sent to look.
    #[must_use]
    pub fn new(cookie: Cookie, cookie_file: &Path) -> Self {
        Self::trusting(cookie, cookie_file, Trust::default())
    }

    /// As [`Gate::new`], and the holders of certificates and tokens as far as `trust` goes.
    #[must_use]
    pub fn trusting(cookie: Cookie, cookie_file: &Path, trust: Trust) -> Self {
        Self { inner: Arc::new(Inner { cookie, cookie_file: cookie_file.to_owned(), trust }) }
    }

    /// The credential of this process's own clients.
    #[must_use]
    pub fn cookie(&self) -> &Cookie {
        &self.inner.cookie
    }

    /// Who else is trusted.
    pub(crate) fn trust(&self) -> &Trust {
        &self.inner.trust
    }

    pub(super) fn check(
        &self,
        path: &str,
        method: Option<Method>,
        headers: &HeaderMap,
        origin: &Origin,
    ) -> Result<Caller, Refusal> {
        let Some(method) = method else {
            return Err(Refusal::Undeclared);
        };
        if method.right == Right::Open {
            return Ok(match origin {
                Origin::InProcess => Caller::Owner,
                Origin::Remote { address, .. } => Caller::Stranger(*address),
            });
        }
        // What is shown on purpose decides, whatever the connection knows.
        match (headers.get(AUTHORIZATION), origin) {
            (Some(header), _) => {
                let token = bearer(header.as_bytes()).ok_or(Refusal::Unknown)?;
                self.check_token(token, method.right, origin)
            }
            (None, Origin::Remote { certificate: Some(certificate), .. }) => {
                self.check_certificate(certificate, path, method.right)
            }
            (None, _) => Err(Refusal::NoCredential),
        }
    }

    fn check_token(&self, token: &[u8], right: Right, origin: &Origin) -> Result<Caller, Refusal> {
        let trust = &self.inner.trust;
        if self.inner.cookie.matches(token) {
            return match origin.is_local() || trust.cookie_travels {
                true => Ok(Caller::Owner),
                false => Err(Refusal::CookieFromAfar),
            };
        }
        let Some(tokens) = &trust.tokens else {
            return Err(Refusal::Unknown);
        };
        let now = i64::try_from(unix_time()).unwrap_or(i64::MAX);
        match tokens.current().standing(token, now) {
            Standing::Good(name, rights) if rights.has(right) => Ok(Caller::Token(name)),
            Standing::Good(..) => Err(Refusal::MissingRight(right)),
            Standing::Unknown if Tokens::may_have(token) => Err(Refusal::UnknownToken),
            Standing::Unknown => Err(Refusal::Unknown),
            Standing::Expired(_) => Err(Refusal::Expired),
            Standing::Revoked(_) => Err(Refusal::Revoked),
        }
    }

    fn check_certificate(
        &self,
        certificate: &ClientCertificate,
        path: &str,
        right: Right,
    ) -> Result<Caller, Refusal> {
        let tls = self.inner.trust.tls.as_ref().ok_or(Refusal::StaleCertificate)?;
        if !certificate.is_good(tls, unix_time()) {
            return Err(Refusal::StaleCertificate);
        }
        let Certificate { name, identity, .. } = &certificate.facts;
        let identity = identity.as_ref().ok_or(Refusal::NoRole)?;
        let material = tls.current();
        let own = material.own.as_ref().and_then(|own| own.identity.as_ref());
        if own.is_some_and(|own| own.organisation != identity.organisation) {
            return Err(Refusal::OtherOrganisation);
        }
        match identity.role.may_call(path, right) {
            true => Ok(Caller::Certificate(name.as_str().into())),
            false => Err(Refusal::RoleMayNot(identity.role)),
        }
    }

    /// Counts a refusal; what its caller is told.
    pub(super) fn refuse(&self, refused: &Refusal, path: &str, origin: &Origin) -> Failure {
        self.inner.trust.count_refusal(refused.label());
        self.failure(refused, path, origin)
    }

    /// Counts a refusal to an address that had too many; what its caller is told.
    fn refuse_unheard(&self, wait: Duration) -> Failure {
        self.inner.trust.count_refusal("too_many");
        let message = "more calls from this address were refused than one address may make";
        Failure::new(Code::ResourceExhausted, "REFUSED_TOO_OFTEN", message)
            .with_hint("a call with a good credential is served even so")
            .with_retry_after(wait)
    }

    /// What a refused caller is told. Whoever is not known learns nothing about who is: tokens that
    /// are unknown, expired and revoked look the same.
    fn failure(&self, refusal: &Refusal, path: &str, origin: &Origin) -> Failure {
        let denied =
            |reason, message: String| Failure::new(Code::PermissionDenied, reason, message);
        match refusal {
            Refusal::Undeclared => denied(
                "NO_DECLARED_RIGHT",
                format!("{path} declares no right here, so nobody may call it"),
            )
            .with_hint(
                "check the name of the method; reflection and admin methods may be switched \
                         off on this server",
            ),
            Refusal::NoCredential => {
                self.unauthenticated("NO_CREDENTIAL", "the call carries no credential", origin)
            }
            Refusal::Unknown | Refusal::CookieFromAfar => {
                self.unauthenticated("WRONG_CREDENTIAL", "the credential is not accepted", origin)
            }
            Refusal::UnknownToken | Refusal::Expired | Refusal::Revoked => {
                let message = "the token is not accepted";
                Failure::new(Code::Unauthenticated, "WRONG_CREDENTIAL", message).with_hint(
                    "it may have expired or been revoked; ask whoever made it for another one",
                )
            }
            Refusal::StaleCertificate => {
                let message = "the certificate is not accepted any more";
                Failure::new(Code::Unauthenticated, "STALE_CERTIFICATE", message)
                    .with_hint("connect again with the certificate that replaced it")
            }
            Refusal::NoRole => denied("NO_ROLE", "the certificate names no role".to_owned())
                .with_hint("it needs one URI: spiffe://pentad/ORGANISATION/ROLE"),
            Refusal::OtherOrganisation => denied(
                "OTHER_ORGANISATION",
                "the certificate is of another organisation".to_owned(),
            ),
            Refusal::RoleMayNot(role) => {
                denied("WRONG_ROLE", format!("role {role} may not call {path}"))
                    .with_hint("docs/rights.md shows what each role may call")
            }
            Refusal::MissingRight(right) => {
                denied("MISSING_RIGHT", format!("{path} asks for the right {right}"))
                    .with_hint("the token does not have it; ask whoever made it for another one")
            }
        }
    }

    fn unauthenticated(&self, reason: &'static str, message: &str, origin: &Origin) -> Failure {
        let failure = Failure::new(Code::Unauthenticated, reason, message);
        // Where files are is told to who could look there.
        failure.with_hint(match origin.is_local() {
            true => format!(
                "send the metadata `authorization: Bearer <line>` with the line of the cookie file \
                 {}",
                self.inner.cookie_file.display()
            ),
            false => "send the metadata `authorization: Bearer <token>`, or show a certificate in \
                      the TLS handshake; a cookie is good on its own machine only"
                .to_owned(),
        })
    }
}

/// The token of `Bearer <token>` (RFC 6750; the scheme's case does not matter).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(SCHEME.len())?;
    let token = token.strip_prefix(b" ")?;
    scheme.eq_ignore_ascii_case(SCHEME.as_bytes()).then(|| token.trim_ascii())
}

/// Puts a [`Gate`] in front of a service.
#[derive(Clone, Debug)]
pub(super) struct RightsLayer {
    gate: Gate,
    refused: Refused,
}

impl RightsLayer {
    pub(super) fn new(gate: Gate, limits: &Limits) -> Self {
        Self { gate, refused: Refused::new(limits) }
    }
}

impl<S> Layer<S> for RightsLayer {
    type Service = Rights<S>;

    fn layer(&self, inner: S) -> Rights<S> {
        Rights { gate: self.gate.clone(), refused: self.refused.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Rights<S> {
    gate: Gate,
    refused: Refused,
    inner: S,
}

impl<S> Service<Request<Body>> for Rights<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let method = request.extensions().get::<Method>().copied();
        let origin = request.extensions().get::<Origin>().cloned().unwrap_or(NOWHERE);
        let path = request.uri().path();
        match self.gate.check(path, method, request.headers(), &origin) {
            Ok(caller) => {
                let may_end = matches!(caller, Caller::Token(_) | Caller::Certificate(_));
                let lease = method.filter(|method| method.streaming && may_end);
                let lease = lease.map(|method| self.lease(&request, method, origin));
                // No service needs it, so none can leak it.
                request.headers_mut().remove(AUTHORIZATION);
                if let Some(lease) = lease {
                    request.extensions_mut().insert(lease);
                }
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(refused) => {
                let noted = match &origin {
                    Origin::Remote { address, .. } => self.refused.note(*address, Instant::now()),
                    Origin::InProcess => Ok(()),
                };
                let failure = match noted {
                    Ok(()) => self.gate.refuse(&refused, path, &origin),
                    Err(wait) => self.gate.refuse_unheard(wait),
                };
                Either::Right(ready(Ok(refusal(failure))))
            }
        }
    }
}

impl<S> Rights<S> {
    fn lease(&self, request: &Request<Body>, method: Method, origin: Origin) -> Lease {
        let shown = request.headers().get(AUTHORIZATION);
        let headers = shown.map(|shown| (AUTHORIZATION, shown.clone())).into_iter().collect();
        let path = request.uri().path().to_owned();
        Lease { gate: self.gate.clone(), path, method, headers, origin }
    }
}

/// A call whose origin nobody noted comes from afar and shows no certificate.
const NOWHERE: Origin =
    Origin::Remote { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), certificate: None };

#[cfg(test)]
mod tests {
    use pentad_trust::TlsFiles;

    use super::*;
    use crate::listen::ServerConfig;
    use crate::metrics::Metrics;

    #[test]
    fn a_cookie_is_good_on_its_own_machine_only() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("cookie");
        let cookie = Cookie::load_or_create(&file).expect("made");
        let value = format!("Bearer {}", cookie.reveal()).parse().expect("a header value");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let method = Some(Method { right: Right::Read, streaming: false });
        let remote = |address: &str| {
            let address = address.parse().expect("an address");
            Origin::Remote { address, certificate: None }
        };
        let gate = Gate::new(cookie.clone(), &file);
        for near in [Origin::InProcess, remote("127.0.0.1"), remote("::1")] {
            assert_eq!(gate.check("/", method, &headers, &near), Ok(Caller::Owner));
        }
        let mapped = remote("::ffff:127.0.0.1");
        assert_eq!(gate.check("/", method, &headers, &mapped), Ok(Caller::Owner));
        for far in [remote("10.0.0.1"), remote("2001:db8::1"), NOWHERE] {
            let refused = gate.check("/", method, &headers, &far).expect_err("from afar");
            assert_eq!(refused, Refusal::CookieFromAfar);
            let told = format!("{:?}", gate.failure(&refused, "/", &far));
            assert!(!told.contains(&file.display().to_string()), "{told}");
        }
        let bold = ServerConfig { insecure_listen: true, ..ServerConfig::default() };
        let trust = Trust::load(&TlsFiles::default(), &bold, &Metrics::new()).expect("no files");
        let gate = Gate::trusting(cookie, &file, trust);
        let far = remote("10.0.0.1");
        assert_eq!(gate.check("/", method, &headers, &far), Ok(Caller::Owner));
    }
}
