//! What the host runs or trusts without asking, as data: a name a line, and who does it.
//!
//! The measure is a tool that acts on the file by itself: when a directory is entered or opened, at a commit, when an
//! agent or an interpreter starts there. Left out is what somebody runs on purpose (`Makefile`, `package.json`,
//! `build.rs`, `.cargo/config.toml`, a virtual environment): it has to stay editable, and each has a neighbour of equal
//! power. Left out as well is what only names things that stand elsewhere (`.gitattributes`, `.gitmodules`,
//! `.editorconfig`, `.tool-versions`), and what its reader asks about (`.dir-locals.el`, `.gdbinit`). The manual shows the
//! table and says the same.

/// A path that no command may change, relative to the top of a writable root and of every repository's work tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectedName {
    /// The relative path: mostly a name, at times one below a directory that itself stays writable.
    pub path: &'static str,
    /// Who runs or trusts it.
    pub why: &'static str,
}

const fn name(path: &'static str, why: &'static str) -> ProtectedName {
    ProtectedName { path, why }
}

/// The built-in names. `sandbox.unprotect` takes some out, `sandbox.protect` adds others.
pub const NAMES: &[ProtectedName] = &[
    // Agents.
    name(".codex", "this program's own configuration, instructions and skills"),
    name(".agents", "skills that agents load by themselves"),
    name(".mcp.json", "names programs that agents start"),
    name(".claude", "hooks, permissions and servers of Claude Code"),
    name(".cursor", "hooks, rules and servers of Cursor"),
    name(".gemini", "servers and tool commands of Gemini CLI"),
    name(".qwen", "servers and tool commands of Qwen Code"),
    name(".windsurf", "hooks and workflows of Windsurf"),
    name(".opencode", "plugins that opencode loads"),
    name("opencode.json", "names plugins and servers that opencode starts"),
    name("opencode.jsonc", "names plugins and servers that opencode starts"),
    name(".crush.json", "names servers that Crush starts"),
    name("crush.json", "names servers that Crush starts"),
    name(".kiro", "hooks and servers of Kiro"),
    name(".amazonq", "agents and servers of Amazon Q"),
    name(".factory", "hooks and servers of Factory"),
    name(".continue", "servers of Continue"),
    name(".roo", "servers of Roo Code"),
    name(".junie", "servers of Junie"),
    name(".aider.conf.yml", "names the commands by which Aider lints and tests"),
    name(".github/hooks", "hooks of Copilot"),
    // Editors.
    name(".vscode", "tasks on opening a folder, and settings that name programs"),
    name(".idea", "start-up tasks, run configurations and watchers of JetBrains editors"),
    name(".zed", "settings that name language servers, and tasks"),
    name(".helix", "names the language servers that Helix starts"),
    name(".devcontainer", "initializeCommand runs on the host"),
    name(".devcontainer.json", "initializeCommand runs on the host"),
    name(".exrc", "commands that Vim and Neovim run where the option exrc is set"),
    name(".vimrc", "commands that Vim runs where the option exrc is set"),
    name(".nvimrc", "commands that Neovim runs where the option exrc is set"),
    name(".nvim.lua", "a program that Neovim runs where the option exrc is set"),
    // Shells, on entering a directory or at their start.
    name(".envrc", "direnv runs it on entering the directory"),
    name(".direnv", "what an approved .envrc has built and sources again"),
    name("mise.toml", "hooks and environment, which mise trusts by path"),
    name(".mise.toml", "hooks and environment, which mise trusts by path"),
    name("mise.local.toml", "hooks and environment, which mise trusts by path"),
    name(".mise.local.toml", "hooks and environment, which mise trusts by path"),
    name(".mise", "hooks, environment and tasks, which mise trusts by path"),
    name(".bashrc", "start-up file of Bash, by way of a link in the home directory"),
    name(".bash_profile", "start-up file of Bash, by way of a link in the home directory"),
    name(".profile", "start-up file of shells, by way of a link in the home directory"),
    name(".zshenv", "start-up file of Zsh, by way of a link in the home directory"),
    name(".zshrc", "start-up file of Zsh, by way of a link in the home directory"),
    name(".zprofile", "start-up file of Zsh, by way of a link in the home directory"),
    name(".gitconfig", "configuration of git, by way of a link in the home directory or an include"),
    // Hooks of version control, and configuration beside git's own.
    name(".husky", "hooks that git runs by way of core.hooksPath"),
    name(".githooks", "hooks that git runs by way of core.hooksPath"),
    name(".pre-commit-config.yaml", "names the commands that an installed hook runs at a commit"),
    name("lefthook.yml", "names the commands that an installed hook runs at a commit"),
    name(".lefthook.yml", "names the commands that an installed hook runs at a commit"),
    name("lefthook-local.yml", "names the commands that an installed hook runs at a commit"),
    name(".lefthook", "scripts that an installed hook runs at a commit"),
    name(".hg/hgrc", "hooks, extensions and aliases of Mercurial"),
    name(".sl/config", "hooks, extensions and aliases of Sapling"),
    name(".jj/repo/config.toml", "programs that Jujutsu starts"),
    // Interpreters that read a file of the directory they are started in.
    name(".Rprofile", "R runs it at its start"),
    name(".irbrc", "IRB runs it at its start"),
    name(".pryrc", "Pry runs it at its start"),
    name(".iex.exs", "IEx runs it at its start"),
    name(".ghci", "GHCi runs it at its start"),
    name(".ocamlinit", "OCaml runs it at its start"),
    name(".octaverc", "Octave runs it at its start"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::{Component, Path};

    use super::NAMES;

    #[test]
    fn each_name_is_relative_stands_once_and_has_a_reason() {
        let mut seen = HashSet::new();
        for name in NAMES {
            let plain =
                Path::new(name.path).components().all(|component| matches!(component, Component::Normal(_)));
            assert!(plain && !name.path.ends_with('/') && seen.insert(name.path), "{name:?}");
            assert!(name.why.len() > 10, "{name:?}");
        }
        // One below another would be protected twice.
        for name in NAMES {
            let above = Path::new(name.path).ancestors().skip(1);
            assert!(
                above.into_iter().all(|above| !seen.contains(&above.to_string_lossy().as_ref())),
                "{name:?}"
            );
        }
    }
}
