//! The failures of a table: every row is judged before the test ends.

use super::{Expect, Run};

/// Collects the rows that failed, so that one defect doesn't hide the others.
#[derive(Debug, Default)]
pub struct Failures {
    rows: Vec<String>,
    judged: usize,
}

impl Failures {
    /// No failure yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges one run of the row `name`.
    pub fn judge(&mut self, name: &str, expected: Expect, run: &Run) {
        let verdict = run.verdict();
        self.check(expected.admits(&verdict), || {
            format!("{name} [{}]: expected {expected}, got {verdict}\n{}", run.policy_name(), run.describe())
        });
    }

    /// Notes a failure unless `holds`.
    pub fn check(&mut self, holds: bool, describe: impl FnOnce() -> String) {
        self.judged += 1;
        if !holds {
            self.rows.push(describe());
        }
    }

    /// Ends the table.
    ///
    /// # Panics
    ///
    /// Where a row failed, or where nothing was judged at all.
    pub fn finish(self) {
        assert!(self.judged > 0, "the table judged nothing");
        self.finish_if_judged();
    }

    /// Ends a table that may have no row for this level or this identity.
    ///
    /// # Panics
    ///
    /// Where a row failed.
    pub fn finish_if_judged(self) {
        assert!(
            self.rows.is_empty(),
            "{} of {} checks failed:\n\n{}",
            self.rows.len(),
            self.judged,
            self.rows.join("\n")
        );
    }
}
