//! Where a call comes from: what the transport knows, and no header can claim.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pentad_trust::{Certificate, Tls};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// Where a call comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// This process.
    InProcess,
    /// A connection.
    Remote {
        /// The other end's address.
        address: IpAddr,
        /// The certificate that it has shown in the handshake.
        certificate: Option<Arc<ClientCertificate>>,
    },
}

impl Origin {
    /// Whether the caller is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::InProcess => true,
            Self::Remote { address, .. } => address.to_canonical().is_loopback(),
        }
    }
}

/// A certificate that a handshake has found to be good.
#[derive(Debug)]
pub struct ClientCertificate {
    /// What it says.
    pub facts: Certificate,
    chain: Vec<CertificateDer<'static>>,
    /// The generation of authorities that was asked last.
    accepted_by: AtomicU64,
}

impl ClientCertificate {
    /// Of a handshake under the authorities of `generation`; nothing when it cannot be read.
    pub(crate) fn new(chain: &[CertificateDer<'_>], generation: u64) -> Option<Self> {
        let facts = Certificate::from_der(chain.first()?).ok()?;
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        Some(Self { facts, chain, accepted_by: AtomicU64::new(generation) })
    }

    /// Whether it is still good at `now`, Unix time in seconds: a connection may outlive its
    /// certificate, and the authority that it was made by.
    pub(crate) fn is_good(&self, tls: &Tls, now: u64) -> bool {
        if self.facts.not_after <= i64::try_from(now).unwrap_or(i64::MAX) {
            return false;
        }
        let generation = tls.generation();
        if self.accepted_by.load(Ordering::Acquire) == generation {
            return true;
        }
        let is_good = tls.current().accepts(&self.chain, now);
        if is_good {
            self.accepted_by.store(generation, Ordering::Release);
        }
        is_good
    }
}
