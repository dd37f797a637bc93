//! The variables that make git run nothing, follow nothing and guard nothing less, as data.

use super::Entry;

/// What a value has to be.
#[derive(Clone, Copy)]
enum Value {
    Any,
    /// Plain words: `true`, `input`, `--no-ff` would not be one.
    Word,
    /// The address of a repository.
    Address,
    /// How a submodule is updated: a command may stand there.
    Update,
    /// The way from a git directory to its work tree: relative, and upwards before it goes down.
    WorkTree,
}

/// Sections, keys, and what the value may be. A key that is not here is taken out: git and its extensions have hundreds,
/// and new ones come.
const INERT: &[(&str, &[&str], Value)] = &[
    (
        "core",
        &[
            "repositoryformatversion",
            "bare",
            "filemode",
            "logallrefupdates",
            "ignorecase",
            "precomposeunicode",
            "symlinks",
            "autocrlf",
            "eol",
            "safecrlf",
            "sparsecheckout",
            "sparsecheckoutcone",
            "quotepath",
            "abbrev",
            "compression",
            "loosecompression",
            "untrackedcache",
            "preloadindex",
            "trustctime",
            "checkstat",
            "commentchar",
            "whitespace",
            "multipackindex",
            "commitgraph",
            "longpaths",
            "bigfilethreshold",
        ],
        Value::Word,
    ),
    ("core", &["worktree"], Value::WorkTree),
    (
        "extensions",
        &[
            "objectformat",
            "compatobjectformat",
            "refstorage",
            "noop",
            "preciousobjects",
            "partialclone",
            "worktreeconfig",
            "relativeworktrees",
        ],
        Value::Word,
    ),
    ("remote", &["url", "pushurl"], Value::Address),
    (
        "remote",
        &[
            "fetch",
            "push",
            "tagopt",
            "prune",
            "prunetags",
            "mirror",
            "promisor",
            "partialclonefilter",
            "skipdefaultupdate",
            "skipfetchall",
        ],
        Value::Any,
    ),
    ("branch", &["remote", "pushremote"], Value::Address),
    ("branch", &["merge", "rebase", "description"], Value::Any),
    ("user", &["name", "email", "useconfigonly"], Value::Any),
    ("author", &["name", "email"], Value::Any),
    ("committer", &["name", "email"], Value::Any),
    ("submodule", &["url"], Value::Address),
    ("submodule", &["update"], Value::Update),
    (
        "submodule",
        &["active", "branch", "fetchrecursesubmodules", "ignore", "shallow", "recurse"],
        Value::Any,
    ),
    ("init", &["defaultbranch"], Value::Any),
    ("pull", &["rebase", "ff"], Value::Word),
    ("push", &["default", "autosetupremote", "followtags"], Value::Word),
    ("fetch", &["prune", "prunetags"], Value::Word),
    ("merge", &["conflictstyle", "ff"], Value::Word),
    ("rebase", &["autosquash", "autostash", "updaterefs"], Value::Word),
    ("index", &["version"], Value::Word),
    ("gc", &["auto"], Value::Word),
    ("lfs", &["repositoryformatversion"], Value::Word),
];

/// Whether an assignment makes git run nothing and follow nothing.
pub(super) fn is_inert(entry: &Entry) -> bool {
    let named = |words: &[&str], name: &[u8]| words.iter().any(|word| word.as_bytes() == name);
    // A subsection or a value of more lines is no work of git's, and nobody reads it as what it is.
    let one_line = |text: &Option<Vec<u8>>| !text.iter().flatten().any(|byte| *byte < b' ' && *byte != b'\t');
    one_line(&entry.subsection)
        && one_line(&entry.value)
        && INERT.iter().any(|(section, keys, value)| {
            entry.section == section.as_bytes()
                && named(keys, &entry.key)
                && value.allows(entry.value.as_deref())
        })
}

impl Value {
    fn allows(self, value: Option<&[u8]>) -> bool {
        let Some(value) = value else { return true };
        match self {
            Self::Any => true,
            Self::Word => value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.,# ".contains(byte)),
            Self::Address => is_plain_address(value),
            Self::Update => [&b"checkout"[..], b"rebase", b"merge", b"none"].contains(&value),
            Self::WorkTree => is_below_an_ancestor(value),
        }
    }
}

/// Whether an address names no helper program (`helper::address`, of which `ext::` runs any command) and can't be taken
/// for an option.
fn is_plain_address(address: &[u8]) -> bool {
    let helper = address.windows(2).any(|pair| pair == b"::");
    // `[::1]` is an address of the internet's, behind a scheme or a user.
    let literal =
        || address.windows(2).position(|pair| pair == b"::").is_some_and(|at| address[..at].contains(&b'['));
    !address.starts_with(b"-") && (!helper || literal())
}

/// `../../../directory`, as git writes it for a submodule.
fn is_below_an_ancestor(path: &[u8]) -> bool {
    let mut down = false;
    !path.starts_with(b"/")
        && path.split(|byte| *byte == b'/').all(|component| match component {
            b".." => !down,
            b"" | b"." | b"~" => false,
            _ => {
                down = true;
                true
            }
        })
        && down
}
