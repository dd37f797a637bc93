//! `codex debug audit verify`: whether the audit log is what was written.

use codex_core::audit::{AuditVerified, FaultKind, verify};
use codex_linux_sandbox::shown;

use crate::args::AuditVerifyArgs;
use crate::exit_code;
use crate::meaning::Meaning;
use crate::render;

pub(crate) fn verify_audit(args: &AuditVerifyArgs) -> i32 {
    let file = match &args.file {
        Some(file) => file.clone(),
        None => match Meaning::of(&args.policy) {
            Ok(meaning) => match meaning.config.settings.audit.file.value {
                Some(file) => file,
                None => {
                    let why = "there is no audit log: audit.file in config.toml names one; or name a FILE";
                    return render::refusal(why, exit_code::USAGE);
                }
            },
            Err(error) => return render::refusal(&error.to_string(), error.exit_code()),
        },
    };
    match verify(&file, args.contains) {
        Ok(verified) => {
            let printed =
                if args.json { render::json(&verified) } else { render::bytes(text(&verified).as_bytes()) };
            match (printed, verified.contains) {
                (exit_code::SUCCESS, Some(false)) => render::refusal(
                    "no line has that digest: it is of another log, or the end was cut off",
                    exit_code::BROKEN,
                ),
                (printed, _) => printed,
            }
        }
        Err(fault) => {
            let code = match fault.kind {
                FaultKind::Kernel(_) | FaultKind::NotAFile => exit_code::REFUSED,
                FaultKind::Broken | FaultKind::CutOff | FaultKind::OlderMissing | FaultKind::TooLong => {
                    exit_code::BROKEN
                }
            };
            render::refusal(&fault.to_string(), code)
        }
    }
}

fn text(verified: &AuditVerified) -> String {
    let mut lines: Vec<String> = verified.files.iter().map(|file| shown(file).to_string()).collect();
    let count = verified.lines;
    let plural = if count == 1 { "" } else { "s" };
    lines.push(format!("{count} line{plural}, each follows from the one before"));
    if verified.torn > 0 {
        let torn = verified.torn;
        lines.push(format!("{torn} of them half a record: who wrote it was ended, or the disk was full"));
    }
    if !verified.from_the_beginning {
        lines.push("older files were removed when younger ones were full".to_owned());
    }
    lines.push(format!("last digest {}\n", verified.head));
    lines.join("\n")
}
