//! What a certificate says.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Name;

use crate::role::Role;

/// Of the URI that names a holder: `spiffe://pentad/<organisation>/<role>`.
const TRUST_DOMAIN: &str = "spiffe://pentad/";

/// Who a certificate says that its holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is.
    pub organisation: String,
    /// What it does there.
    pub role: Role,
}

impl Identity {
    /// Reads `spiffe://pentad/<organisation>/<role>`.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let (organisation, role) = uri.strip_prefix(TRUST_DOMAIN)?.split_once('/')?;
        let role = role.parse().ok()?;
        is_name(organisation).then(|| Self { organisation: organisation.to_owned(), role })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TRUST_DOMAIN}{}/{}", self.organisation, self.role)
    }
}

/// Longest name of an organisation or a holder, as X.509 has it (RFC 5280, ub-common-name).
const NAME_LENGTH_MAX: usize = 64;

/// Whether `name` can name an organisation or a holder: it stands in URIs and names files.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=NAME_LENGTH_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['.', '-'])
}

/// What a certificate says; whether it is true, a handshake finds out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its common name, or nothing.
    pub name: String,
    /// The common name of the authority that made it, or nothing.
    pub issuer: String,
    /// Who its holder is, where it says so in exactly one URI, as SPIFFE asks for.
    pub identity: Option<Identity>,
    /// Names and addresses that its holder can be reached at.
    pub hosts: Vec<String>,
    /// It may make other certificates.
    pub is_authority: bool,
    /// Unix time in seconds from which on it holds.
    pub not_before: i64,
    /// Unix time in seconds until which it holds.
    pub not_after: i64,
}

impl Certificate {
    /// Reads the certificates in a PEM file.
    ///
    /// # Errors
    /// In words, what is wrong with it; there has to be one at least.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>, String> {
        let ders = CertificateDer::pem_slice_iter(pem.as_bytes());
        let read =
            ders.map(|der| Self::from_der(&der.map_err(|error| format!("no PEM: {error}"))?));
        let found: Vec<Self> = read.collect::<Result<_, _>>()?;
        match found.is_empty() {
            true => Err("there is no certificate in it".to_owned()),
            false => Ok(found),
        }
    }

    /// Until when it holds, as in RFC 3339.
    ///
    /// # Errors
    /// When that is beyond the calendar.
    pub fn expires(&self) -> Result<String, String> {
        let time = OffsetDateTime::from_unix_timestamp(self.not_after);
        let time = time.map_err(|error| error.to_string())?;
        time.format(&Rfc3339).map_err(|error| error.to_string())
    }

    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let (_, parsed) =
            parse_x509_certificate(der).map_err(|error| format!("no certificate: {error}"))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| format!("its alternative names cannot be read: {error}"))?;
        let names = names.map(|extension| extension.value.general_names.as_slice());
        let names = names.unwrap_or_default();
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let hosts = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(host) => Some((*host).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        });
        Ok(Self {
            name: common_name(parsed.subject()),
            issuer: common_name(parsed.issuer()),
            identity: match uris[..] {
                [uri] => Identity::from_uri(uri),
                _ => None,
            },
            hosts: hosts.collect(),
            is_authority: parsed.is_ca(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }
}

fn common_name(name: &X509Name<'_>) -> String {
    let first = name.iter_common_name().next();
    first.and_then(|it| it.as_str().ok()).unwrap_or_default().to_owned()
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|it| std::net::IpAddr::from(it).to_string());
    let sixteen = <[u8; 16]>::try_from(bytes).map(|it| std::net::IpAddr::from(it).to_string());
    four.or(sixteen).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_back_and_nothing_else_is_one() {
        for role in Role::ALL {
            let identity = Identity { organisation: "acme".to_owned(), role };
            assert_eq!(Identity::from_uri(&identity.to_string()), Some(identity));
        }
        for uri in [
            "",
            "spiffe://pentad/acme",
            "spiffe://pentad/acme/king",
            "spiffe://pentad//chain",
            "spiffe://pentad/acme/chain/x",
            "spiffe://other/acme/chain",
            "spiffe://pentad/ac me/chain",
            "SPIFFE://pentad/acme/chain",
        ] {
            assert_eq!(Identity::from_uri(uri), None, "{uri}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for der in [&b""[..], b"0", &[0x30, 0x82, 0xff, 0xff], &[0; 100]] {
            Certificate::from_der(der).expect_err("refused");
        }
    }
}
