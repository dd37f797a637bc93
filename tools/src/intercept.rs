//! A patch that a model runs as a command: `apply_patch <<'EOF' … EOF`, with `cd DIR &&` before it or not.
//!
//! Only what means the same to every shell is recognised; the rest runs as the command that it is, and finds `apply_patch`
//! on its `PATH`.

/// A patch, and where it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intercepted {
    /// The directory that was changed to.
    pub directory: Option<String>,
    /// The text of the patch.
    pub patch: String,
}

const PROGRAMS: [&str; 2] = ["apply_patch", "applypatch"];

/// Looks at an argument list.
#[must_use]
pub fn arguments(command: &[String]) -> Option<Intercepted> {
    match command {
        [program, patch] if PROGRAMS.contains(&program.as_str()) => {
            Some(Intercepted { directory: None, patch: patch.clone() })
        }
        [shell, option, text] if is_shell(shell) && matches!(option.as_str(), "-c" | "-lc") => script(text),
        _ => None,
    }
}

fn is_shell(program: &str) -> bool {
    matches!(program.rsplit('/').next(), Some("sh" | "bash" | "zsh" | "dash"))
}

/// Looks at a script.
#[must_use]
pub fn script(text: &str) -> Option<Intercepted> {
    let mut rest = text.trim();
    let mut directory = None;
    if let Some(after) = rest.strip_prefix("cd ") {
        let (word, after) = after.split_once("&&")?;
        directory = Some(plain_word(word.trim())?);
        rest = after.trim_start();
    }
    let (first, body) = rest.split_once('\n')?;
    let after = PROGRAMS.iter().find_map(|program| first.strip_prefix(program))?;
    let word = after.trim().strip_prefix("<<")?;
    if word.starts_with(['-', '<']) {
        return None;
    }
    let word = word.trim();
    let bare = word.trim_matches(['\'', '"']);
    let quoted = word == format!("'{bare}'") || word == format!("\"{bare}\"");
    if bare.is_empty() || !bare.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    {
        return None;
    }
    let (patch, end) = body.trim_end().rsplit_once('\n')?;
    // Earlier, it would end the document there.
    if end != bare || patch.lines().any(|line| line == bare) {
        return None;
    }
    // Without quotes around its word, the shell would put other things in.
    if !quoted && (word != bare || patch.contains(['$', '`', '\\'])) {
        return None;
    }
    Some(Intercepted { directory, patch: patch.to_owned() })
}

/// A word that a shell leaves as it is.
fn plain_word(word: &str) -> Option<String> {
    if let Some(inner) = word.strip_prefix('\'').and_then(|word| word.strip_suffix('\'')) {
        return (!inner.contains('\'')).then(|| inner.to_owned());
    }
    let inner = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or(word);
    let spaced = inner.len() < word.len();
    let plain = |character: char| {
        character.is_alphanumeric()
            || matches!(character, '/' | '.' | '_' | '-' | '+' | ',' | '@' | '%' | ':')
            || (spaced && character == ' ')
    };
    (!inner.is_empty() && inner.chars().all(plain)).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{arguments, script};

    #[test]
    fn only_what_every_shell_reads_so_is_a_patch() {
        let patch = "*** Begin Patch\n*** End Patch";
        let plain = |text: &str| script(text).map(|found| (found.directory, found.patch));
        assert_eq!(plain(&format!("apply_patch <<'EOF'\n{patch}\nEOF\n")), Some((None, patch.into())));
        assert_eq!(plain(&format!("applypatch << \"E_1\"\n{patch}\nE_1")), Some((None, patch.into())));
        assert_eq!(
            plain(&format!("cd 'a b' && apply_patch <<EOF\n{patch}\nEOF")),
            Some((Some("a b".into()), patch.into()))
        );
        for other in [
            format!("apply_patch <<EOF\n{patch}$(rm x)\nEOF"),
            format!("apply_patch <<'EOF'\n{patch}\nEOF\nrm x"),
            format!("apply_patch <<'EOF'\nEOF\n{patch}\nEOF"),
            format!("apply_patch <<'EOF' && rm x\n{patch}\nEOF"),
            format!("apply_patch <<-'EOF'\n{patch}\nEOF"),
            format!("rm x; apply_patch <<'EOF'\n{patch}\nEOF"),
            format!("cd $HOME && apply_patch <<'EOF'\n{patch}\nEOF"),
            format!("cd a; rm x && apply_patch <<'EOF'\n{patch}\nEOF"),
            "apply_patch".into(),
        ] {
            assert_eq!(script(&other), None, "{other}");
        }
    }

    #[test]
    fn argument_lists_are_looked_at_as_well() {
        let words =
            |words: &[&str]| arguments(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["apply_patch", "p"]).unwrap().patch, "p");
        assert_eq!(words(&["/bin/bash", "-lc", "apply_patch <<'E'\np\nE"]).unwrap().patch, "p");
        assert_eq!(words(&["python", "-c", "apply_patch <<'E'\np\nE"]), None);
        assert_eq!(words(&["apply_patch"]), None);
    }
}
