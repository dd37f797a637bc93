//! Who may connect: who shows a token that is as good as its secrecy, compared in constant time by its digest, or one that
//! somebody has signed.

mod signed;

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use codex_linux_sandbox::shown;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use signed::{DEFAULT_SKEW, LONGEST_SKEW, Refused, SignedTokens};

/// The largest file that a secret or a key is read from, in bytes.
const LARGEST_FILE: u64 = 64 * 1024;
/// What nobody may do with the file of a token.
const TOKEN: u32 = 0o027;
/// The shortest token that is taken: 128 bits as hexadecimal digits, or 192 as base64.
const SHORTEST: usize = 32;

/// Why there is no token to go by.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file can't be read.
    #[error("the {kind} file {path}: {error}", path = shown(.path))]
    Unreadable {
        /// What is in it: a token or a key.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// Anybody could guess it.
    #[error(
        "the token file {path}: a token has {SHORTEST} characters at least, none of them blank; `openssl rand -hex 32` makes one",
        path = shown(.0)
    )]
    Short(PathBuf),
    /// Signatures made with it could be forged.
    #[error("a shared secret has 32 bytes at least")]
    Secret,
    /// The same, of a file.
    #[error("the secret file {path}: a shared secret has 32 bytes at least; `openssl rand -hex 32` makes one", path = shown(.0))]
    ShortSecret(PathBuf),
    /// Others could read the secret, or put one of their own in its place.
    #[error(
        "the {kind} file {path} has the mode {mode:04o} and belongs to user {owner}: it has to belong to this user or root, and not \
         to have any of the bits {forbidden:03o}; `chmod 600` takes them away", path = shown(.path)
    )]
    Exposed {
        /// What is in it: a token or a key.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What must not be in it.
        forbidden: u32,
        /// Its owner.
        owner: u32,
    },
    /// It is no public key that we can check signatures with.
    #[error(
        "the key file {path}: there is no Ed25519 key in it as `openssl pkey -pubout` writes it (BEGIN PUBLIC KEY)",
        path = shown(.0)
    )]
    PublicKey(PathBuf),
    /// It is no digest.
    #[error("a SHA-256 digest is 64 hexadecimal digits")]
    Digest,
}

/// What a connection over TCP has to show.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The token of this digest.
    Token(TokenDigest),
    /// A token that is signed.
    Signed(Box<SignedTokens>),
}

impl Credential {
    /// Whether a header `Authorization` shows it, now.
    #[must_use]
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        match self {
            Self::Token(digest) => digest.admits(authorization),
            Self::Signed(tokens) => bearer(authorization).is_some_and(|token| {
                let checked = tokens.check(token, SystemTime::now());
                if let Err(refused) = checked {
                    tracing::info!("a token is refused: {refused}");
                }
                checked.is_ok()
            }),
        }
    }
}

/// What follows `Bearer`.
fn bearer(authorization: Option<&[u8]>) -> Option<&[u8]> {
    let (scheme, token) = authorization?.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// A token by its digest. The token itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenDigest")
    }
}

impl TokenDigest {
    /// The digest of the token that is in a file; blanks around it are not part of it. Others must have no access to the file,
    /// and its group may read it at most.
    ///
    /// # Errors
    ///
    /// [`AuthError`].
    pub fn of_file(path: &Path) -> Result<Self, AuthError> {
        let text = read("token", path, TOKEN)?;
        let token = text.trim_ascii();
        if token.len() < SHORTEST || token.iter().any(|byte| !byte.is_ascii_graphic()) {
            return Err(AuthError::Short(path.to_owned()));
        }
        Ok(Self(Sha256::digest(token).into()))
    }

    /// A digest as hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`AuthError::Digest`].
    pub fn of_hex(text: &str) -> Result<Self, AuthError> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(AuthError::Digest);
        }
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_other| AuthError::Digest)?;
            if digits.starts_with('+') {
                return Err(AuthError::Digest);
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_other| AuthError::Digest)?;
        }
        Ok(Self(digest))
    }

    /// Whether a header `Authorization` shows the token.
    #[must_use]
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = bearer(authorization) else { return false };
        // What is compared has one length whatever the token's.
        let shown: [u8; 32] = Sha256::digest(token).into();
        bool::from(shown.ct_eq(&self.0))
    }
}

/// The token that is in a file, for whoever shows it. The file is as [`TokenDigest::of_file`] wants it, and the token any text.
///
/// # Errors
///
/// [`AuthError`].
pub fn token_of_file(path: &Path) -> Result<String, AuthError> {
    let text = String::from_utf8(read("token", path, TOKEN)?).map_err(|other| AuthError::Unreadable {
        kind: "token",
        path: path.to_owned(),
        error: std::io::Error::new(std::io::ErrorKind::InvalidData, other.utf8_error()),
    })?;
    Ok(text.trim().to_owned())
}

/// Reads a file that has a secret or a key in it, where nobody has these rights to it and it belongs to us or root.
fn read(kind: &'static str, path: &Path, forbidden: u32) -> Result<Vec<u8>, AuthError> {
    let unreadable = |error| AuthError::Unreadable { kind, path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    // Of the file that is read, whatever the path leads to by now.
    let status = file.metadata().map_err(unreadable)?;
    let mode = status.mode() & 0o7777;
    let is_ours = status.uid() == 0 || status.uid() == nix::unistd::geteuid().as_raw();
    if mode & forbidden != 0 || !is_ours {
        return Err(AuthError::Exposed { kind, path: path.to_owned(), mode, forbidden, owner: status.uid() });
    }
    let mut text = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::{AuthError, TokenDigest, token_of_file};

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let token = "0123456789abcdef0123456789abcdef";
        std::fs::write(&file, format!("{token}\n")).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let digest = TokenDigest::of_file(&file).unwrap();
        assert!(digest.admits(Some(format!("Bearer {token}").as_bytes())));
        assert!(digest.admits(Some(format!("bearer {token}").as_bytes())));
        for header in ["", "Bearer", "Bearer ", token, "Basic 0123456789abcdef0123456789abcdef"] {
            assert!(!digest.admits(Some(header.as_bytes())), "{header}");
        }
        assert!(!digest.admits(Some(format!("Bearer {token}0").as_bytes())));
        assert!(!digest.admits(None));
        std::fs::write(&file, "short").unwrap();
        assert!(matches!(TokenDigest::of_file(&file), Err(AuthError::Short(_))));
    }

    #[test]
    fn a_token_that_others_could_read_or_write_opens_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
        let with = |mode: u32| {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            TokenDigest::of_file(&file)
        };
        for mode in [0o400, 0o600, 0o640, 0o700] {
            assert!(with(mode).is_ok(), "{mode:o}");
            assert_eq!(token_of_file(&file).unwrap(), "0123456789abcdef0123456789abcdef");
        }
        for mode in [0o604, 0o602, 0o601, 0o620, 0o644, 0o666, 0o777] {
            let refused = with(mode).unwrap_err();
            assert!(matches!(refused, AuthError::Exposed { mode: found, .. } if found == mode), "{refused}");
            assert!(refused.to_string().starts_with("the token file "), "{refused}");
            // Nor is it shown to anybody.
            assert_eq!(token_of_file(&file).unwrap_err().to_string(), refused.to_string());
        }
        // Another user's could be another one tomorrow. Only root can give it away.
        if nix::unistd::geteuid().is_root() {
            assert!(with(0o600).is_ok());
            chown(&file, Some(4242), None).unwrap();
            assert!(matches!(with(0o600), Err(AuthError::Exposed { owner: 4242, .. })));
        }
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        // `printf abc | sha256sum`
        let digest =
            TokenDigest::of_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        assert!(digest.admits(Some(b"Bearer abc")));
        for text in ["", "ba", &"+1".repeat(32), &"zz".repeat(32), &"é".repeat(32)] {
            assert!(matches!(TokenDigest::of_hex(text), Err(AuthError::Digest)), "{text}");
        }
    }
}
