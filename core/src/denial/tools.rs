//! Directories of common tools, as data: a place a line, and why a tool writes there.

/// A directory that a tool writes to, and that can be granted as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolPlace {
    /// The tool.
    pub tool: &'static str,
    /// The directory, relative to the home directory.
    pub path: &'static str,
    /// What it keeps there, and so what a grant opens.
    pub why: &'static str,
    /// Whether programs lie there that are run outside as they are, or settings that name some: nobody who learns grants it
    /// without a word.
    pub holds_programs: bool,
}

const fn place(tool: &'static str, path: &'static str, why: &'static str) -> ToolPlace {
    ToolPlace { tool, path, why, holds_programs: false }
}

const fn programs(tool: &'static str, path: &'static str, why: &'static str) -> ToolPlace {
    ToolPlace { tool, path, why, holds_programs: true }
}

/// The table. Where several match, the deepest counts.
pub const TOOLS: &[ToolPlace] = &[
    place("cargo", ".cargo/registry", "downloaded crates, whose sources later builds run"),
    place("cargo", ".cargo/git", "checkouts of crates from git, which later builds run"),
    programs("rustup", ".rustup/toolchains", "compilers that later builds run"),
    programs("rustup", ".rustup/downloads", "toolchains while they are downloaded"),
    place("npm", ".npm/_cacache", "npm's cache of packages"),
    programs("npm", ".npm", "npm's cache and its logs, and programs that npx runs"),
    programs("pnpm", ".local/share/pnpm", "pnpm's store, linked into every project, and global programs"),
    programs("pnpm", ".cache/pnpm", "what registries say, and programs that pnpm dlx runs"),
    place("yarn", ".cache/yarn", "yarn's cache of packages"),
    programs("yarn", ".yarn", "yarn's cache of packages, and its global folder"),
    place("node-gyp", ".cache/node-gyp", "headers that native modules are built with"),
    place("pip", ".cache/pip", "pip's cache of packages"),
    programs("uv", ".cache/uv", "uv's cache, linked into environments, and those that uvx runs"),
    programs("uv", ".local/share/uv/python", "interpreters that uv installs"),
    programs("uv", ".local/share/uv/tools", "tools that uv installs"),
    programs("poetry", ".cache/pypoetry", "poetry's cache, and its virtual environments"),
    programs("go", "go/pkg/mod", "modules, whose sources later builds use, and toolchains that go runs"),
    place("go", ".cache/go-build", "compiled packages that later builds link"),
    place("gradle", ".gradle/caches", "artifacts, plugins and scripts that later builds run"),
    programs("gradle", ".gradle/wrapper", "distributions of gradle that later builds run"),
    programs("gradle", ".gradle/daemon", "the list of running daemons, and their logs"),
    programs("gradle", ".gradle/native", "native libraries that gradle loads"),
    place("maven", ".m2/repository", "artifacts and plugins that later builds run"),
    programs("bundler", ".bundle", "bundler's cache and settings"),
    programs("bundler", ".gem/ruby", "gems that ruby programs load"),
    place("composer", ".cache/composer", "composer's cache of packages"),
    place("nuget", ".nuget/packages", "packages that later builds load"),
    place("nuget", ".local/share/NuGet", "caches of what feeds say"),
    place("ccache", ".cache/ccache", "compiled objects that later builds link"),
    programs(
        "ccache",
        ".ccache",
        "compiled objects that later builds link, and settings that name a compiler",
    ),
    place("sccache", ".cache/sccache", "compiled objects that later builds link"),
    programs("pre-commit", ".cache/pre-commit", "environments of hooks, which run at commits outside"),
    programs("playwright", ".cache/ms-playwright", "browsers that tests start"),
    place("huggingface", ".cache/huggingface/hub", "models and data sets; models can hold code"),
    place("huggingface", ".cache/huggingface/datasets", "data sets as they were prepared"),
    programs("docker", ".docker/buildx", "state of builders"),
    place("matplotlib", ".cache/matplotlib", "a cache of fonts"),
    place("fontconfig", ".cache/fontconfig", "a cache of fonts"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::super::secret::{is_run_by_itself, is_secret};
    use super::TOOLS;

    #[test]
    fn each_place_is_relative_stands_once_has_a_reason_and_is_no_secret() {
        let mut seen = HashSet::new();
        let home = Path::new("/home/user");
        for tool in TOOLS {
            assert!(Path::new(tool.path).is_relative() && seen.insert(tool.path), "{tool:?}");
            assert!(tool.why.len() > 10, "{tool:?}");
            let place = home.join(tool.path);
            assert!(!is_secret(&place, Some(home)) && !is_run_by_itself(&place, Some(home)), "{tool:?}");
        }
    }
}
