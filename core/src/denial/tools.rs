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
    programs("virtualenv", ".cache/virtualenv", "packages that every new environment begins with"),
    programs("virtualenv", ".local/share/virtualenv", "packages that every new environment begins with"),
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
    place("bundler", ".bundle/cache", "downloaded gems, whose code later installs run"),
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

/// Where a tool fetches packages, unless it was told of another place. Only of tools that go through a proxy which variables name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registry {
    pub(super) tool: &'static str,
    /// What it asks, and what it fetches from: one is of no use without the other.
    pub(super) hosts: &'static [&'static str],
}

const PYPI: &[&str] = &["pypi.org", "files.pythonhosted.org"];
const NPM: &[&str] = &["registry.npmjs.org"];

/// The registries, as the tools come.
pub(super) const REGISTRIES: &[Registry] = &[
    Registry { tool: "cargo", hosts: &["index.crates.io", "static.crates.io"] },
    Registry { tool: "npm", hosts: NPM },
    Registry { tool: "pnpm", hosts: NPM },
    Registry { tool: "yarn", hosts: &["registry.yarnpkg.com"] },
    Registry { tool: "pip", hosts: PYPI },
    Registry { tool: "uv", hosts: PYPI },
    Registry { tool: "poetry", hosts: PYPI },
    Registry { tool: "go", hosts: &["proxy.golang.org", "sum.golang.org"] },
    Registry { tool: "bundler", hosts: &["rubygems.org", "index.rubygems.org"] },
];

/// Programs that speak to no HTTP proxy, whatever port it is: a grant of the host would open nothing.
const WITHOUT_PROXY: &[&str] = &[
    "ssh",
    "scp",
    "sftp",
    "psql",
    "pg_dump",
    "mysql",
    "mysqldump",
    "mariadb",
    "redis-cli",
    "nc",
    "ncat",
    "telnet",
    "ping",
    "dig",
];

/// Whether a program is one that speaks to no HTTP proxy.
pub(super) fn is_without_proxy(program: &str) -> bool {
    WITHOUT_PROXY.contains(&named_by(program))
}

/// A variable by which a user puts a tool's things elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// What of the named directory is meant. Empty for all of it.
    pub(super) below: &'static str,
    /// The place that this is instead, relative to the home directory.
    pub(super) place: &'static str,
}

const fn variable(name: &'static str, place: &'static str) -> Variable {
    Variable { name, below: "", place }
}

/// The variables, as the tools' manuals have them.
pub(super) const VARIABLES: &[Variable] = &[
    variable("XDG_CACHE_HOME", ".cache"),
    variable("XDG_CONFIG_HOME", ".config"),
    variable("XDG_DATA_HOME", ".local/share"),
    variable("CARGO_HOME", ".cargo"),
    variable("RUSTUP_HOME", ".rustup"),
    variable("npm_config_cache", ".npm"),
    variable("NPM_CONFIG_CACHE", ".npm"),
    variable("npm_config_devdir", ".cache/node-gyp"),
    variable("PNPM_HOME", ".local/share/pnpm"),
    variable("YARN_CACHE_FOLDER", ".cache/yarn"),
    variable("YARN_GLOBAL_FOLDER", ".yarn"),
    variable("PIP_CACHE_DIR", ".cache/pip"),
    variable("UV_CACHE_DIR", ".cache/uv"),
    variable("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python"),
    variable("UV_TOOL_DIR", ".local/share/uv/tools"),
    variable("VIRTUALENV_OVERRIDE_APP_DATA", ".cache/virtualenv"),
    variable("POETRY_CACHE_DIR", ".cache/pypoetry"),
    variable("GOPATH", "go"),
    variable("GOMODCACHE", "go/pkg/mod"),
    variable("GOCACHE", ".cache/go-build"),
    variable("GRADLE_USER_HOME", ".gradle"),
    variable("BUNDLE_USER_HOME", ".bundle"),
    variable("BUNDLE_USER_CACHE", ".bundle/cache"),
    variable("GEM_HOME", ".gem/ruby"),
    Variable { name: "COMPOSER_HOME", below: "cache", place: ".cache/composer" },
    variable("COMPOSER_CACHE_DIR", ".cache/composer"),
    variable("NUGET_PACKAGES", ".nuget/packages"),
    // Its settings, which name a compiler, lie there as well.
    variable("CCACHE_DIR", ".ccache"),
    variable("SCCACHE_DIR", ".cache/sccache"),
    variable("PRE_COMMIT_HOME", ".cache/pre-commit"),
    variable("PLAYWRIGHT_BROWSERS_PATH", ".cache/ms-playwright"),
    variable("HF_HOME", ".cache/huggingface"),
    variable("HF_HUB_CACHE", ".cache/huggingface/hub"),
    variable("HF_DATASETS_CACHE", ".cache/huggingface/datasets"),
    variable("DOCKER_CONFIG", ".docker"),
    // No tool's places, and secrets.
    variable("GNUPGHOME", ".gnupg"),
    variable("PASSWORD_STORE_DIR", ".password-store"),
];

/// Programs that go by another name than their tool.
const PROGRAMS: &[(&str, &str)] = &[
    ("bundle", "bundler"),
    ("dotnet", "nuget"),
    ("gradlew", "gradle"),
    ("mvn", "maven"),
    ("mvnw", "maven"),
    ("gem", "bundler"),
    ("npx", "npm"),
    ("uvx", "uv"),
];

/// The tool that a word of a command line is, or the name of a process: `pip3.12` is pip.
pub(super) fn named_by(word: &str) -> &str {
    let file = word.rsplit('/').next().unwrap_or(word);
    let bare = file.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
    PROGRAMS.iter().find(|(program, _)| *program == bare).map_or(bare, |(_, tool)| tool)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::super::dwelling::Dwelling;
    use super::super::secret::{is_run_by_itself, is_secret};
    use super::{TOOLS, VARIABLES, named_by};

    #[test]
    fn each_place_is_relative_stands_once_has_a_reason_and_is_no_secret() {
        let mut seen = HashSet::new();
        let home = Path::new("/home/user");
        let dwelling = Dwelling::at(home);
        for tool in TOOLS {
            assert!(Path::new(tool.path).is_relative() && seen.insert(tool.path), "{tool:?}");
            assert!(tool.why.len() > 10, "{tool:?}");
            let place = home.join(tool.path);
            assert!(!is_secret(&place, &dwelling) && !is_run_by_itself(&place, &dwelling), "{tool:?}");
        }
    }
    #[test]
    fn each_variable_stands_once_and_moves_a_place() {
        let mut seen = HashSet::new();
        for variable in VARIABLES {
            assert!(seen.insert(variable.name) && Path::new(variable.place).is_relative(), "{variable:?}");
        }
    }

    #[test]
    fn tools_go_by_several_names() {
        for (word, tool) in [
            ("pip3.12", "pip"),
            ("/usr/bin/mvn", "maven"),
            ("./gradlew", "gradle"),
            ("cargo", "cargo"),
            ("7", ""),
        ] {
            assert_eq!(named_by(word), tool);
        }
    }
}
