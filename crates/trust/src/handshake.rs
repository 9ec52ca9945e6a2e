//! Why a caller and a server do not come together over TLS.

use std::error::Error as StdError;
use std::io;

use thiserror::Error;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};

/// What is wrong with the server, or with what it was shown, as its caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// No authority that is known here made the server's certificate.
    #[error("its certificate is of an authority that is not known here")]
    UnknownAuthority,
    /// The time of the server's certificate is over, or has not come, by the clock of this machine.
    #[error("its certificate has expired, or does not hold yet")]
    Expired,
    /// The server's certificate does not name the host that was called.
    #[error("its certificate is not one for host {0}")]
    OtherHost(String),
    /// The server does not accept the caller's certificate.
    #[error("it does not accept the certificate that it was shown")]
    Refused,
    /// What answers is no TLS.
    #[error("it does not speak TLS")]
    NoTls,
}

impl HandshakeError {
    /// Looks for one among the causes of `error`.
    #[must_use]
    pub fn among(error: &(dyn StdError + 'static)) -> Option<Self> {
        let causes = std::iter::successors(Some(error), |&error| error.source());
        causes.filter_map(tls_error).find_map(Self::of)
    }

    fn of(error: &TlsError) -> Option<Self> {
        match error {
            TlsError::InvalidCertificate(problem) => Self::of_server(problem),
            TlsError::InvalidMessage(_) => Some(Self::NoTls),
            TlsError::AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::DecryptError,
            ) => Some(Self::Refused),
            _ => None,
        }
    }

    fn of_server(problem: &CertificateError) -> Option<Self> {
        match problem {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Some(Self::UnknownAuthority)
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Some(Self::Expired),
            CertificateError::NotValidForNameContext { expected, .. } => {
                Some(Self::OtherHost(expected.to_str().into_owned()))
            }
            _ => None,
        }
    }
}

/// An error of TLS is itself a cause, or wrapped up as an error of the stream.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.downcast_ref().or_else(|| wrapped?.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_wherever_it_stands_among_the_causes() {
        #[derive(Debug, Error)]
        #[error("outside")]
        struct Outside(#[source] io::Error);

        let unknown = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        let outside = Outside(io::Error::new(io::ErrorKind::InvalidData, unknown.clone()));
        for error in [&outside as &(dyn StdError + 'static), &unknown] {
            assert_eq!(HandshakeError::among(error), Some(HandshakeError::UnknownAuthority));
        }
        let closed = Outside(io::ErrorKind::ConnectionReset.into());
        assert_eq!(HandshakeError::among(&closed), None);
    }
}
