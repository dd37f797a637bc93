//! Secrets of a user, and what speaks for one: no grant is ever proposed for these.

use std::path::{Path, PathBuf};

/// Relative to the home directory.
const IN_HOME: &[&str] = &[
    // Keys.
    ".ssh",
    ".gnupg",
    ".pki",
    ".local/share/keyrings",
    ".kde/share/apps/kwallet",
    ".local/share/kwalletd",
    ".password-store",
    // Credentials of clouds and registries.
    ".aws",
    ".azure",
    ".config/gcloud",
    ".oci",
    ".kube",
    ".docker/config.json",
    ".config/gh",
    ".config/hub",
    ".netrc",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".config/rclone",
    ".terraform.d",
    ".vault-token",
    // Profiles of browsers.
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/vivaldi",
    // History of shells and interpreters.
    ".bash_history",
    ".zsh_history",
    ".local/share/fish",
    ".python_history",
    ".node_repl_history",
    ".sqlite_history",
    ".psql_history",
];

/// Sockets that hold keys, or start programs outside.
const SOCKETS: &[&str] = &["ssh-", "agent", "gnupg", "keyring", "bus", "systemd", "X11-unix", "wayland"];

/// Whether a path is, lies in, or holds a secret of the user: as it is named, or where links lead from there.
pub(super) fn is_secret(path: &Path, home: Option<&Path>) -> bool {
    let Some(home) = home else { return false };
    IN_HOME.iter().map(|secret| home.join(secret)).any(|secret| {
        let is = |secret: &Path| path.starts_with(secret) || secret.starts_with(path);
        is(&secret) || followed(&secret).is_some_and(|place| is(&place))
    })
}

/// Where a path leads, though its last names may not exist.
fn followed(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|above| Some(above.canonicalize().ok()?.join(path.strip_prefix(above).ok()?)))
}

/// Whether a socket speaks for the user's keys or session.
pub(super) fn is_secret_socket(path: &Path) -> bool {
    path.iter().any(|name| {
        let name = name.to_string_lossy();
        SOCKETS.iter().any(|word| name.contains(word))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{is_secret, is_secret_socket};

    #[test]
    fn secrets_and_what_holds_them() {
        let home = Some(Path::new("/home/u"));
        for secret in ["/home/u/.ssh/id", "/home/u/.aws", "/home/u", "/home", "/home/u/.config"] {
            assert!(is_secret(Path::new(secret), home), "{secret}");
        }
        for open in ["/home/u/.cache/pip", "/home/u/.sshx", "/home/v/.ssh"] {
            assert!(!is_secret(Path::new(open), home), "{open}");
        }
        assert!(is_secret_socket(Path::new("/tmp/ssh-Xa/agent.1")));
        assert!(!is_secret_socket(Path::new("/var/run/docker.sock")));
    }

    #[test]
    fn links_hide_none() {
        let scratch = tempfile::tempdir().unwrap();
        let real = scratch.path().canonicalize().unwrap();
        let home = real.join("home");
        std::fs::create_dir_all(real.join("users/u")).unwrap();
        std::fs::create_dir(real.join("keys")).unwrap();
        std::os::unix::fs::symlink(real.join("users/u"), &home).unwrap();
        std::os::unix::fs::symlink(real.join("keys"), home.join(".ssh")).unwrap();
        for secret in ["users/u/.aws/x", "users/u", "keys/id", "keys", "home/.ssh/id"] {
            assert!(is_secret(&real.join(secret), Some(&home)), "{secret}");
        }
        for open in ["users/u/.cache", "users/v/.aws", "other"] {
            assert!(!is_secret(&real.join(open), Some(&home)), "{open}");
        }
    }
}
