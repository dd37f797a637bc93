//! `codex debug audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use codex_core::audit::Digest;

use super::PolicyOptions;

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Say whether each line follows from the line before, in the file and those that were put aside.
    #[command(after_long_help = CODES)]
    Verify(AuditVerifyArgs),
}

const CODES: &str = "\
Exit codes:
      0 the lines follow from one another; 1 they do not, or the digest is not found;
      2 usage or configuration; 125 the log can't be read";

/// `codex debug audit verify`.
#[derive(Args, Debug)]
pub(crate) struct AuditVerifyArgs {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// The log, where it is not the one of audit.file.
    pub(crate) file: Option<PathBuf>,
    /// A digest that the last line had at some time before: fails where no line has it any more.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    pub(crate) contains: Option<Digest>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn digest(text: &str) -> Result<Digest, &'static str> {
    Digest::parse(text).ok_or("a digest is 64 hexadecimal digits")
}
