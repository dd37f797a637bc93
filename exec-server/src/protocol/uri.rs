//! Paths as `file:` URIs (RFC 8089).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands for itself in the path of a URI (RFC 3986, `pchar` and the slash).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// An absolute path. Its bytes are kept, whatever they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileUri(PathBuf);

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme, or none.
    #[error("not a file: URI")]
    Scheme,
    /// A file of another machine.
    #[error("a file: URI of another host")]
    Host,
    /// It does not start at the root.
    #[error("the path is not absolute")]
    Relative,
    /// A query or a fragment, which no path has.
    #[error("a `?` or `#` that is not percent-encoded")]
    Query,
    /// A `%` without two hexadecimal digits after it.
    #[error("a `%` without two hexadecimal digits after it")]
    Encoding,
    /// A NUL byte, which no path holds.
    #[error("a NUL byte")]
    Nul,
}

impl FileUri {
    /// A path. None where it is relative, or has a NUL byte.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let fits = path.is_absolute() && !path.as_os_str().as_bytes().contains(&0);
        fits.then(|| Self(path.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path.
    #[must_use]
    pub fn into_path(self) -> PathBuf {
        self.0
    }

    /// Reads a URI.
    ///
    /// # Errors
    ///
    /// [`UriError`].
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("file") {
            return Err(UriError::Scheme);
        }
        let path = match rest.strip_prefix("//") {
            None => rest,
            Some(rest) => {
                let start = rest.find('/').ok_or(UriError::Relative)?;
                let (host, path) = rest.split_at(start);
                if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                    return Err(UriError::Host);
                }
                path
            }
        };
        if !path.starts_with('/') {
            return Err(UriError::Relative);
        }
        if path.contains(['?', '#']) {
            return Err(UriError::Query);
        }
        let whole = path.split('%').skip(1).all(|after| {
            after.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        });
        if !whole {
            return Err(UriError::Encoding);
        }
        let bytes: Vec<u8> = percent_decode_str(path).collect();
        if bytes.contains(&0) {
            return Err(UriError::Nul);
        }
        Ok(Self(OsString::from_vec(bytes).into()))
    }
}

impl std::fmt::Display for FileUri {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "file://{}", percent_encode(self.0.as_os_str().as_bytes(), PLAIN))
    }
}

impl Serialize for FileUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    use std::path::Path;

    use proptest::prelude::{any, prop, proptest};

    use super::{FileUri, UriError};

    #[test]
    fn what_clients_send_is_read() {
        let path = |text: &str| FileUri::parse(text).map(FileUri::into_path);
        assert_eq!(path("file:///sp%20ace/%C3%BC%23%2525%3F").unwrap(), Path::new("/sp ace/ü#%25?"));
        assert_eq!(path("file:///").unwrap(), Path::new("/"));
        assert_eq!(path("FILE://localhost/a").unwrap(), Path::new("/a"));
        assert_eq!(path("file:/a").unwrap(), Path::new("/a"));
        for (text, error) in [
            ("/native", UriError::Scheme),
            ("relative", UriError::Scheme),
            ("http://h/a", UriError::Scheme),
            ("file://host/a", UriError::Host),
            ("file:a", UriError::Relative),
            ("file://", UriError::Relative),
            ("file:///a%00b", UriError::Nul),
            ("file:///a%0", UriError::Encoding),
            ("file:///a%+1", UriError::Encoding),
            ("file:///a?b", UriError::Query),
        ] {
            assert_eq!(path(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_path_survives(bytes in prop::collection::vec(1_u8.., 0..40)) {
            let mut path = vec![b'/'];
            path.extend(bytes);
            let uri = FileUri::of(Path::new(&OsString::from_vec(path))).unwrap();
            let text = uri.to_string();
            assert!(text.is_ascii());
            assert_eq!(FileUri::parse(&text), Ok(uri));
        }

        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            if let Ok(uri) = FileUri::parse(&text) {
                assert!(uri.path().is_absolute());
            }
        }
    }
}
