//! Quoting for a shell.

/// Writes an argument so that a POSIX shell reads it back byte for byte.
///
/// Plain words stay as they are and most others go between single quotes. What a terminal would not show (control
/// characters, bytes that are not UTF-8) takes the `$'…'` form, which POSIX has since 2024 and bash, zsh, ksh and
/// busybox had before.
pub(super) fn quote(argument: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./=:,@%+".contains(byte);
    if !argument.is_empty() && argument.iter().all(plain) {
        return argument.to_vec();
    }
    let shown = std::str::from_utf8(argument).is_ok_and(|text| !text.chars().any(char::is_control));
    if shown {
        let mut quoted = vec![b'\''];
        for byte in argument {
            match byte {
                b'\'' => quoted.extend_from_slice(b"'\\''"),
                _ => quoted.push(*byte),
            }
        }
        quoted.push(b'\'');
        return quoted;
    }
    let mut quoted = b"$'".to_vec();
    for byte in argument {
        match byte {
            b'\'' | b'\\' => quoted.extend([b'\\', *byte]),
            b'\n' => quoted.extend_from_slice(b"\\n"),
            b' '..=b'~' => quoted.push(*byte),
            // Three octal digits: a hexadecimal escape would take the digits that follow it along.
            _ => quoted.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    use std::process::Command;

    use proptest::prelude::*;

    use super::quote;

    #[test]
    fn plain_words_stay_plain() {
        assert_eq!(quote(b"/usr/bin/ls"), b"/usr/bin/ls");
        assert_eq!(quote(b"it's"), b"'it'\\''s'");
        assert_eq!(quote(b""), b"''");
        assert_eq!(quote(b"\xff1\n"), b"$'\\3771\\n'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bash_reads_back_what_was_quoted(arguments in prop::collection::vec(
            prop::collection::vec(1_u8.., 0..24), 1..5,
        )) {
            let mut script = b"printf '%s\\0'".to_vec();
            for argument in &arguments {
                script.push(b' ');
                script.extend(quote(argument));
            }
            let output = Command::new("bash").arg("-c").arg(OsString::from_vec(script)).output().unwrap();
            let mut expected = arguments.join(&0);
            expected.push(0);
            prop_assert_eq!(output.stdout, expected);
        }
    }
}
