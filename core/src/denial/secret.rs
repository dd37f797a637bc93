//! Secrets of a user, what speaks for one, and what is run outside by itself: no grant is ever proposed for these.

use std::path::{Path, PathBuf};

use super::dwelling::Dwelling;

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
    ".nuget/NuGet",
    ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens",
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

/// What the user's shells, sessions, editors and git run or read by themselves: whoever writes there acts outside of every sandbox
/// sooner or later. Relative to the home directory; its own dot files are covered by the home directory being too wide.
const RUN_BY_ITSELF: &[&str] = &[
    // Found before the system's programs on the PATH.
    ".local/bin",
    "bin",
    ".cargo/bin",
    "go/bin",
    ".npm-global",
    ".deno/bin",
    ".bun/bin",
    ".pyenv",
    ".rbenv",
    ".asdf",
    ".nvm",
    ".sdkman",
    ".volta",
    // Started with a session, or by the manager of services.
    ".config/autostart",
    ".config/systemd",
    ".config/environment.d",
    ".local/share/systemd",
    ".local/share/applications",
    ".local/share/dbus-1",
    ".config/pam-gnupg",
    // Read by shells, prompts and terminals when they start.
    ".config/fish",
    ".config/zsh",
    ".config/nushell",
    ".config/starship.toml",
    ".config/direnv",
    ".local/share/direnv",
    ".config/tmux",
    ".oh-my-zsh",
    // Read by git and what it starts.
    ".config/git",
    ".config/lazygit",
    // Plugins and settings of editors and agents.
    ".config/Code",
    ".config/Cursor",
    ".config/JetBrains",
    ".config/emacs",
    ".config/nvim",
    ".cursor",
    ".emacs.d",
    ".claude",
    ".agents",
    ".local/share/JetBrains",
    ".local/share/nvim",
    ".vim",
    ".vscode",
    ".vscode-server",
    // Loaded by interpreters and build tools wherever they run.
    ".config/pip",
    ".config/uv",
    ".ipython",
    ".local/lib",
    ".gradle/init.d",
    ".config/npm",
    ".config/yarn",
    ".config/containers",
    ".docker/cli-plugins",
    ".nuget/plugins",
];

/// Sockets that hold keys, or start programs outside.
const SOCKETS: &[&str] = &["ssh-", "agent", "gnupg", "keyring", "bus", "systemd", "X11-unix", "wayland"];

/// Whether a path is, lies in, or holds a secret of the user: as it is named, or where links lead from there.
pub(super) fn is_secret(path: &Path, dwelling: &Dwelling) -> bool {
    touches(IN_HOME, path, dwelling)
}

/// Whether a path is, lies in, or holds what is run outside without anybody asking for it.
pub(super) fn is_run_by_itself(path: &Path, dwelling: &Dwelling) -> bool {
    touches(RUN_BY_ITSELF, path, dwelling)
}

fn touches(places: &[&str], path: &Path, dwelling: &Dwelling) -> bool {
    places.iter().flat_map(|place| dwelling.places(place)).any(|place| {
        let is = |place: &Path| path.starts_with(place) || place.starts_with(path);
        is(&place) || followed(&place).is_some_and(|place| is(&place))
    })
}

/// Where a path leads, though its last names may not exist.
pub(super) fn followed(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|above| {
        let mut place = above.canonicalize().ok()?;
        place.extend(path.strip_prefix(above).ok()?);
        Some(place)
    })
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

    use super::{Dwelling, is_run_by_itself, is_secret, is_secret_socket};

    #[test]
    fn secrets_and_what_holds_them() {
        let home = &Dwelling::at(Path::new("/home/u"));
        for secret in
            ["/home/u/.ssh/id", "/home/u/.aws", "/home/u", "/home", "/home/u/.config", "/home/u/.cache"]
        {
            assert!(is_secret(Path::new(secret), home), "{secret}");
        }
        for open in ["/home/u/.cache/pip", "/home/u/.sshx", "/home/v/.ssh"] {
            assert!(!is_secret(Path::new(open), home), "{open}");
        }
        assert!(is_secret_socket(Path::new("/tmp/ssh-Xa/agent.1")));
        assert!(!is_secret_socket(Path::new("/var/run/docker.sock")));
    }

    #[test]
    fn what_is_run_outside_and_what_holds_it() {
        let home = &Dwelling::at(Path::new("/home/u"));
        for run in
            ["/home/u/.local/bin/ls", "/home/u/bin", "/home/u/.config/autostart/x.desktop", "/home/u/.local"]
        {
            assert!(is_run_by_itself(Path::new(run), home), "{run}");
        }
        for not in ["/home/u/.cache/pip", "/home/u/.config/app", "/home/u/binary", "/home/v/bin"] {
            assert!(!is_run_by_itself(Path::new(not), home), "{not}");
        }
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
            assert!(is_secret(&real.join(secret), &Dwelling::at(&home)), "{secret}");
        }
        for open in ["users/u/.cache/pip", "users/v/.aws", "other"] {
            assert!(!is_secret(&real.join(open), &Dwelling::at(&home)), "{open}");
        }
    }
}
