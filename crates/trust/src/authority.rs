//! Making certificates.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::certificate::{Certificate, Identity, is_name};
use crate::error::TrustError;

/// Certificates hold from a little before they were made: clocks differ.
const CLOCKS_DIFFER_SECONDS: i64 = 300;
/// Longest time that a certificate holds: what is meant to be longer is a mistake.
const DAYS_MAX: u32 = 36_500;
/// Bytes that tell authorities of one organisation apart.
const SERIAL_BYTES: usize = 4;

/// Makes certificates that whoever knows it accepts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    organisation: String,
}

/// A certificate and its key, both in PEM.
#[derive(Debug)]
pub struct Issued {
    /// For everybody.
    pub certificate: String,
    /// For its holder alone.
    pub key: Zeroizing<String>,
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its holder's name.
    pub name: String,
    /// What its holder does.
    pub role: crate::Role,
    /// Names and addresses that its holder is reached at.
    pub hosts: Vec<String>,
    /// Days that it holds.
    pub days: u32,
}

impl Authority {
    /// Makes the key and certificate of an authority of `organisation`, which holds for `days` from
    /// `now`, Unix time in seconds.
    ///
    /// # Errors
    /// When the organisation is no name, or the system gives no entropy.
    pub fn create(organisation: &str, days: u32, now: i64) -> Result<Issued, TrustError> {
        if !is_name(organisation) {
            return Err(no_name(organisation));
        }
        let mut serial = [0; SERIAL_BYTES];
        getrandom::fill(&mut serial).map_err(unmakeable)?;
        let mut params = params(days, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = format!("{organisation} authority {}", hex::encode(serial));
        params.distinguished_name = distinguished_name(organisation, &name);
        let key = KeyPair::generate().map_err(unmakeable)?;
        let certificate = params.self_signed(&key).map_err(unmakeable)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem().into() })
    }

    /// The authority of a certificate, the first in `certificates`, and its key, both in PEM.
    ///
    /// # Errors
    /// When they are none, or not of each other.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, TrustError> {
        let der = CertificateDer::from_pem_slice(certificates.as_bytes()).map_err(unmakeable)?;
        let facts = Certificate::from_der(&der).map_err(unmakeable)?;
        if !facts.is_authority {
            return Err(unmakeable("the certificate is not one of an authority"));
        }
        let key = KeyPair::from_pem(key).map_err(unmakeable)?;
        let (organisation, public_key) = subject(&der).map_err(unmakeable)?;
        if public_key != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(unmakeable("the key is not the certificate's"));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(unmakeable)?;
        Ok(Self { issuer, organisation })
    }

    /// Whose it is.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// Makes a key and a certificate for it.
    ///
    /// # Errors
    /// When the name or a host is none.
    pub fn issue(&self, order: &Order, now: i64) -> Result<Issued, TrustError> {
        if !is_name(&order.name) {
            return Err(no_name(&order.name));
        }
        let mut params = params(order.days, now)?;
        params.distinguished_name = distinguished_name(&self.organisation, &order.name);
        let identity = Identity { organisation: self.organisation.clone(), role: order.role };
        let uri = identity.to_string().try_into().map_err(unmakeable)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        for host in &order.hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host_name(host)?.try_into().map_err(unmakeable)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if order.role.listens() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(unmakeable)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(unmakeable)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem().into() })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("organisation", &self.organisation)
            .finish_non_exhaustive()
    }
}

fn params(days: u32, now: i64) -> Result<CertificateParams, TrustError> {
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(unmakeable(format!("it cannot hold for {days} days: 1 to {DAYS_MAX} may be")));
    }
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).map_err(unmakeable);
    let mut params = CertificateParams::default();
    params.not_before = at(now.saturating_sub(CLOCKS_DIFFER_SECONDS))?;
    params.not_after = at(now)?
        .checked_add(Duration::days(days.into()))
        .ok_or_else(|| unmakeable("its last day is beyond the calendar"))?;
    Ok(params)
}

fn distinguished_name(organisation: &str, name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organisation);
    subject.push(DnType::CommonName, name);
    subject
}

/// Organisation and public key of a certificate's holder.
fn subject(der: &[u8]) -> Result<(String, Vec<u8>), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| format!("no certificate: {error}"))?;
    let organisation = parsed.subject().iter_organization().next();
    let organisation = organisation.and_then(|it| it.as_str().ok()).filter(|it| is_name(it));
    let organisation = organisation.ok_or("the authority's certificate names no organisation")?;
    Ok((organisation.to_owned(), parsed.public_key().raw.to_vec()))
}

/// Letters, digits, dots and dashes (RFC 1123).
fn host_name(host: &str) -> Result<String, TrustError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63 && !label.starts_with('-');
    if host.len() <= 253 && host.bytes().all(plain) && host.split('.').all(is_label) {
        return Ok(host.to_owned());
    }
    Err(unmakeable(format!("{host:?} is no name or address of a host (without a port)")))
}

fn no_name(name: &str) -> TrustError {
    unmakeable(format!("{name:?} is no name: 1 to 64 of a-z, 0-9, '-', '_', '.'"))
}

fn unmakeable(error: impl std::fmt::Display) -> TrustError {
    TrustError::Unmakeable(error.to_string())
}
