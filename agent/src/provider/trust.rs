//! Why a server is not trusted, and what helps.

use std::error::Error;
use std::io;

use rustls::{CertificateError, Error as TlsError};

/// What is wrong with a certificate, as far as something else helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Nobody whom we trust vouches for it.
    Issuer,
    /// It is another server's.
    Name,
    /// It is not valid at this time.
    Time,
    /// Anything else.
    Other,
}

impl Distrust {
    /// What a user can do.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Issuer => {
                "where that is as it should be, SSL_CERT_FILE (a file in PEM form) or SSL_CERT_DIR (a directory of such) has to \
                 name the certificate of who vouches for it"
            }
            Self::Name => "base_url has to name the server as its certificate does",
            Self::Time => "the server needs a new one, or this machine the right time",
            Self::Other => "the server needs another one",
        }
    }
}

/// What an error says of the server's certificate, if it is about that.
pub(super) fn distrust(error: &(dyn Error + 'static)) -> Option<Distrust> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(TlsError::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(kind(why));
        }
        // One of input and output gives out what is behind the error that it holds, and not that itself.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

fn kind(why: &CertificateError) -> Distrust {
    match why {
        CertificateError::UnknownIssuer => Distrust::Issuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Distrust::Name,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Distrust::Time,
        _ => Distrust::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use rustls::pki_types::UnixTime;
    use rustls::{CertificateError, Error as TlsError};

    use super::{Distrust, distrust};

    #[test]
    fn a_certificates_fault_is_found_behind_other_errors() {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(1));
        let late = CertificateError::ExpiredContext { time, not_after: time };
        for (why, expected) in [
            (CertificateError::UnknownIssuer, Distrust::Issuer),
            (CertificateError::NotValidForName, Distrust::Name),
            (CertificateError::Expired, Distrust::Time),
            (late, Distrust::Time),
            (CertificateError::NotValidYet, Distrust::Time),
            (CertificateError::BadSignature, Distrust::Other),
        ] {
            let error = io::Error::other(TlsError::InvalidCertificate(why.clone()));
            assert_eq!(distrust(&error), Some(expected), "{why:?}");
            assert_eq!(distrust(&io::Error::other(error)), Some(expected), "{why:?}");
        }
        for other in [io::Error::other(TlsError::DecryptError), io::ErrorKind::ConnectionRefused.into()] {
            assert_eq!(distrust(&other), None, "{other}");
        }
    }
}
