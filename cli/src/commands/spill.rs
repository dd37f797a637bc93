//! Where long output is kept.

use std::path::Path;
use std::sync::Arc;

use codex_core::output::SpillDirectory;
use codex_core::output::spill::SweepLimits;
use codex_linux_sandbox::shown;

/// The directory, without what has lain there for too long. Going without is no reason not to run.
pub(super) fn spill_directory(codex_home: &Path) -> Option<Arc<SpillDirectory>> {
    let parent = codex_home.join("tmp");
    if let Err(error) = std::fs::create_dir_all(&parent) {
        tracing::warn!("{}: {error}", shown(&parent));
    }
    match SpillDirectory::open(&parent.join("output")) {
        Ok(directory) => {
            if let Err(errno) = directory.sweep(&SweepLimits::default()) {
                tracing::warn!("old output can't be removed: {errno}");
            }
            Some(Arc::new(directory))
        }
        Err(error) => {
            tracing::warn!("long output is not kept: {error}");
            None
        }
    }
}
