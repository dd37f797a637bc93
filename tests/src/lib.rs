//! The harness of the suites in `tests/`: it runs `codex` as a user types it, and the probe programs inside and outside.
//!
//! Three words carry it:
//!
//! - a **scene** is the world of one test: a workspace, a place outside it, a home, a configuration directory;
//! - a **probe** is the program `probe`, which does one act and prints one line: `ok DETAIL` or `errno NUMBER NAME`;
//! - a **verdict** is what became of a probe: that line, or the signal that ended it.
//!
//! A suite states an act, what it does without the sandbox, and what it does under each policy. The first half is not
//! optional: a denial proves nothing about an act that fails anyway.
//!
//! Each case is a test for each identity that the tests can run as: `NAME::root` and `NAME::user`, the latter `nobody`
//! where the tests themselves run as root. What a machine lacks is a line that begins with `SKIP`, and a failure in CI.
//!
//! | variable | does |
//! |---|---|
//! | `CI` | set, turns skips into failures |
//! | `CODEX_TESTS_PROGRAM` | names another `codex` to test, such as a release build |
//! | `CODEX_TESTS_PIPELINES` | how many pipelines each shell runs observed, 100 unless set |
//! | `CODEX_TESTS_WRITE_EVENTS` | set, writes `tests/scenarios/*.events` anew instead of comparing |
//! | `CODEX_TESTS_KEEP` | set, keeps the scenes, below Cargo's target directory or `/var/tmp` |

#![expect(clippy::expect_used, clippy::panic, reason = "a harness reports by failing the test that uses it")]

pub mod harness;
