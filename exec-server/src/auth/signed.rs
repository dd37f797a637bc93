//! Signed bearer tokens: JSON Web Tokens (RFC 7519) of one algorithm and one key, both the server's choice.
//!
//! ```text
//! HEADER.CLAIMS.SIGNATURE ─▶ the algorithm is ours ─▶ the signature holds ─▶ claims: exp, nbf, iss, aud
//! ```
//!
//! A token never chooses how it is checked: the key has one algorithm, and a header that names another one, `none` among them,
//! is refused before anything is computed. Whatever else a header offers (`jwk`, `jku`, `x5c`, `kid`) is not looked at. Claims are
//! read once the signature holds, and not before.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::{AuthError, read};

/// The shortest shared secret, in bytes: what the signature has (RFC 7518, section 3.2).
const SHORTEST_SECRET: usize = 32;
/// The longest token that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;
/// What stands before the 32 bytes of an Ed25519 key in a `PUBLIC KEY` (RFC 8410, section 4).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// How far clocks may be apart, unless something else is said.
pub const DEFAULT_SKEW: Duration = Duration::from_secs(30);
/// How far they may be apart at most: what is more is no skew, but a longer life for every token.
pub const LONGEST_SKEW: Duration = Duration::from_secs(300);

/// Why a token does not open. Clients are not told; logs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not three parts of base64url with JSON in the first two, or too long.
    #[error("it is no signed token")]
    Form,
    /// Its header names another algorithm than the server's.
    #[error("it is signed by another algorithm than this server's")]
    Algorithm,
    /// Its header has extensions that have to be understood.
    #[error("it asks for extensions (`crit`), and this server knows none")]
    Critical,
    /// Nobody who has the key made it as it is.
    #[error("its signature does not hold")]
    Signature,
    /// It says until when it holds, and that is over; or it does not say so.
    #[error("it has expired, or never does")]
    Expired,
    /// It does not hold yet.
    #[error("it does not hold yet")]
    Early,
    /// Somebody else has issued it.
    #[error("it has another issuer than this server asks for")]
    Issuer,
    /// It is meant for another server.
    #[error("it is meant for somebody else")]
    Audience,
}

/// The key by which tokens are checked. It is in no message and in no log.
#[derive(Clone)]
enum Key {
    /// `HS256`.
    Shared(hmac::Key),
    /// `EdDSA` over Ed25519.
    Public([u8; 32]),
}

/// What tokens have to be like.
#[derive(Clone)]
pub struct SignedTokens {
    key: Key,
    /// Who has to have issued them.
    pub issuer: Option<String>,
    /// Whom they have to be meant for. Without it, a token that names somebody is meant for somebody else.
    pub audience: Option<String>,
    /// How far the clocks of who issues them and of this machine may be apart; at most [`LONGEST_SKEW`].
    pub skew: Duration,
}

impl std::fmt::Debug for SignedTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, issuer, audience, skew } = self;
        let key = match key {
            Key::Shared(_) => "HS256",
            Key::Public(_) => "EdDSA",
        };
        write!(formatter, "SignedTokens({key}, {issuer:?}, {audience:?}, {skew:?})")
    }
}

/// What a header has that matters. A member that comes twice is an error.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// Whatever it is.
fn is_there<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|_any| true)
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
}

/// One, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Several(several) => several.iter().any(|one| one == wanted),
        }
    }
}

impl SignedTokens {
    /// Tokens signed by HMAC-SHA-256 (`HS256`) with a secret that both sides have.
    ///
    /// # Errors
    ///
    /// [`AuthError::Secret`] where it has less than 32 bytes.
    pub fn with_secret(secret: &[u8]) -> Result<Self, AuthError> {
        if secret.len() < SHORTEST_SECRET {
            return Err(AuthError::Secret);
        }
        Ok(Self::of(Key::Shared(hmac::Key::new(hmac::HMAC_SHA256, secret))))
    }

    /// Tokens signed by Ed25519 (`EdDSA`), by whoever has the key that belongs to this one.
    #[must_use]
    pub fn with_public_key(key: [u8; 32]) -> Self {
        Self::of(Key::Public(key))
    }

    fn of(key: Key) -> Self {
        Self { key, issuer: None, audience: None, skew: DEFAULT_SKEW }
    }

    /// Tokens signed with the secret in a file; blanks around it are not part of it. Others must have no access to the file,
    /// and its group may read it at most.
    ///
    /// # Errors
    ///
    /// [`AuthError`].
    pub fn with_secret_file(path: &Path) -> Result<Self, AuthError> {
        let text = read("key", path, 0o027)?;
        Self::with_secret(text.trim_ascii()).map_err(|_short| AuthError::ShortSecret(path.to_owned()))
    }

    /// Tokens signed by the owner of the Ed25519 key whose public half is in a file, as `openssl pkey -pubout` writes it. Nobody
    /// but the file's owner may be able to write it.
    ///
    /// # Errors
    ///
    /// [`AuthError`].
    pub fn with_public_key_file(path: &Path) -> Result<Self, AuthError> {
        let text = read("key", path, 0o022)?;
        public_key(&text).map(Self::with_public_key).ok_or_else(|| AuthError::PublicKey(path.to_owned()))
    }

    /// Whether a token opens at a time.
    ///
    /// # Errors
    ///
    /// [`Refused`] says why it does not.
    pub fn check(&self, token: &[u8], now: SystemTime) -> Result<(), Refused> {
        let text = std::str::from_utf8(token).map_err(|_other| Refused::Form)?;
        if text.len() > LONGEST {
            return Err(Refused::Form);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refused::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Refused::Form)?;
        if claims.contains('.') {
            return Err(Refused::Form);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_other| Refused::Form);
        let header: Header = json(&decode(header)?)?;
        if header.alg != self.algorithm() {
            return Err(Refused::Algorithm);
        }
        if header.crit {
            return Err(Refused::Critical);
        }
        self.verify(signed.as_bytes(), &decode(signature)?)?;
        let claims: Claims = json(&decode(claims)?)?;
        self.judge(&claims, now)
    }

    const fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Shared(_) => "HS256",
            Key::Public(_) => "EdDSA",
        }
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), Refused> {
        match &self.key {
            // In constant time.
            Key::Shared(key) => hmac::verify(key, signed, signature),
            Key::Public(key) => {
                signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(signed, signature)
            }
        }
        .map_err(|_unspecified| Refused::Signature)
    }

    fn judge(&self, claims: &Claims, now: SystemTime) -> Result<(), Refused> {
        // A clock before 1970 makes every token one of the future, and none opens.
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let skew = self.skew.min(LONGEST_SKEW).as_secs_f64();
        // What is not there is not a number that is larger.
        if !claims.exp.is_some_and(|exp| now < exp + skew) {
            return Err(Refused::Expired);
        }
        if !claims.nbf.is_none_or(|nbf| nbf - skew <= now) {
            return Err(Refused::Early);
        }
        if self.issuer.as_ref().is_some_and(|wanted| claims.iss.as_ref() != Some(wanted)) {
            return Err(Refused::Issuer);
        }
        match (&self.audience, &claims.aud) {
            (None, None) => Ok(()),
            (Some(wanted), Some(meant)) if meant.has(wanted) => Ok(()),
            _ => Err(Refused::Audience),
        }
    }
}

/// What JSON says. All of it is text, what is not looked at included (RFC 7515, section 4).
fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    let text = std::str::from_utf8(bytes).map_err(|_other| Refused::Form)?;
    serde_json::from_str(text).map_err(|_other| Refused::Form)
}

/// The key in a `PUBLIC KEY` in PEM (RFC 7468).
fn public_key(text: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).ok()?.strip_prefix(&ED25519_PREFIX)?.try_into().ok()
}

#[cfg(test)]
#[path = "signed/tests.rs"]
mod tests;
