//! From PEM files to what a TLS handshake needs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

use crate::certificate::Certificate;
use crate::error::TrustError;
use crate::watched::{Contents, Source, Watched, read_public, read_secret};

/// HTTP/2, the only protocol that is spoken (RFC 7540, 11.1).
const ALPN: &[u8] = b"h2";

/// Section `[tls]` of every service, and what a client names by its flags: PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// The own certificate, and those between it and an authority.
    pub certificate: Option<PathBuf>,
    /// Its key, which others cannot read.
    pub key: Option<PathBuf>,
    /// The authorities whose certificates are good, both those of servers and of clients; several
    /// may stand in it, so that an old and a new one overlap.
    pub authority: Option<PathBuf>,
}

/// The TLS files of a process, looked after.
pub type Tls = Arc<Watched<TlsFiles>>;

impl TlsFiles {
    /// Whether anything is named at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads them for the first time; nothing when none is named.
    ///
    /// # Errors
    /// When one cannot be read, or they do not work together.
    pub fn load(&self) -> Result<Option<Tls>, TrustError> {
        if self.is_empty() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Watched::load(self.clone())?)))
    }
}

/// What a handshake needs.
pub struct Material {
    /// For listening; there with a certificate.
    pub server: Option<Arc<ServerConfig>>,
    /// For calling; there with an authority.
    pub client: Option<Arc<ClientConfig>>,
    /// The own certificate.
    pub own: Option<Certificate>,
    /// The authorities.
    pub authorities: Vec<Certificate>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Material {
    /// Whether a client's certificates, its own first, are good by these authorities at `now`, Unix
    /// time in seconds.
    #[must_use]
    pub fn accepts(&self, chain: &[CertificateDer<'_>], now: u64) -> bool {
        let (Some(verifier), Some((own, others))) = (&self.verifier, chain.split_first()) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        verifier.verify_client_cert(own, others, now).is_ok()
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Source for TlsFiles {
    type Value = Material;

    fn read(&self) -> Result<Vec<Contents>, TrustError> {
        let public = |path: &Option<PathBuf>| path.as_deref().map(read_public).transpose();
        let contents = [
            public(&self.certificate)?,
            self.key.as_deref().map(read_secret).transpose()?,
            public(&self.authority)?,
        ];
        Ok(contents.into_iter().map(Option::unwrap_or_default).collect())
    }

    fn parse(&self, contents: &[Contents]) -> Result<Material, TrustError> {
        let [certificate, key, authority] = contents else {
            return Err(TrustError::Unusable("not three files".to_owned()));
        };
        let pair = match (&self.certificate, &self.key) {
            (Some(path), Some(key_path)) => {
                Some((certificates(path, certificate)?, private_key(key_path, key)?))
            }
            (None, None) => None,
            _ => return Err(TrustError::HalfPair),
        };
        let roots = match &self.authority {
            Some(path) => certificates(path, authority)?,
            None => Vec::new(),
        };
        material(pair, roots)
    }

    fn summary(material: &Material) -> String {
        let own = material.own.as_ref().map_or_else(
            || "no certificate".to_owned(),
            |own| {
                let until = own.expires().unwrap_or_else(|error| error);
                format!("the certificate of {} until {until}", own.name)
            },
        );
        format!("{own}, authorities: {}", material.authorities.len())
    }
}

type Pair = (Vec<(CertificateDer<'static>, Certificate)>, PrivateKeyDer<'static>);

fn material(
    pair: Option<Pair>,
    roots: Vec<(CertificateDer<'static>, Certificate)>,
) -> Result<Material, TrustError> {
    let provider = Arc::new(ring::default_provider());
    let mut store = RootCertStore::empty();
    for (der, facts) in &roots {
        if !facts.is_authority {
            let name = &facts.name;
            return Err(TrustError::Unusable(format!(
                "{name:?} is no certificate of an authority"
            )));
        }
        store.add(der.clone()).map_err(unusable)?;
    }
    let store = Arc::new(store);
    let (own, pair) = match pair {
        Some((chain, key)) => {
            let own = chain.first().map(|(_, facts)| facts.clone());
            (own, Some((chain.into_iter().map(|(der, _)| der).collect::<Vec<_>>(), key)))
        }
        None => (None, None),
    };
    let verifier = match roots.is_empty() {
        true => None,
        // Who shows none is known by a token; what shows one of another authority gets no further.
        false => Some(
            WebPkiClientVerifier::builder_with_provider(store.clone(), provider.clone())
                .allow_unauthenticated()
                .build()
                .map_err(unusable)?,
        ),
    };
    let server = match &pair {
        Some((chain, key)) => {
            let asked = verifier.clone().unwrap_or_else(WebPkiClientVerifier::no_client_auth);
            let builder = tls_13(ServerConfig::builder_with_provider(provider.clone()))?;
            let mut config = builder
                .with_client_cert_verifier(asked)
                .with_single_cert(chain.clone(), key.clone_key())
                .map_err(unusable)?;
            config.alpn_protocols = vec![ALPN.to_vec()];
            Some(Arc::new(config))
        }
        None => None,
    };
    let client = match roots.is_empty() {
        true => None,
        false => Some(Arc::new(client(provider, store, pair)?)),
    };
    let authorities = roots.into_iter().map(|(_, facts)| facts).collect();
    Ok(Material { server, client, own, authorities, verifier })
}

fn client(
    provider: Arc<CryptoProvider>,
    store: Arc<RootCertStore>,
    pair: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, TrustError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(store, provider.clone())
        .build()
        .map_err(unusable)?;
    let builder = tls_13(ClientConfig::builder_with_provider(provider))?;
    let builder = builder.with_webpki_verifier(verifier);
    let mut config = match pair {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// The only version: every gRPC library of these years speaks it.
fn tls_13<S: tokio_rustls::rustls::ConfigSide>(
    builder: ConfigBuilder<S, tokio_rustls::rustls::WantsVersions>,
) -> Result<ConfigBuilder<S, tokio_rustls::rustls::WantsVerifier>, TrustError> {
    builder.with_protocol_versions(&[&TLS13]).map_err(unusable)
}

fn unusable(error: impl fmt::Display) -> TrustError {
    TrustError::Unusable(error.to_string())
}

fn certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<(CertificateDer<'static>, Certificate)>, TrustError> {
    let malformed = |problem: String| TrustError::Malformed { path: path.to_owned(), problem };
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|error| malformed(format!("no PEM: {error}")))?;
        let facts = Certificate::from_der(&der).map_err(malformed)?;
        found.push((der, facts));
    }
    match found.is_empty() {
        true => Err(malformed("there is no certificate in it".to_owned())),
        false => Ok(found),
    }
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TrustError> {
    // rustls' own message quotes nothing of the file.
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| TrustError::Malformed {
        path: path.to_owned(),
        problem: format!("no private key in PEM: {error}"),
    })
}
