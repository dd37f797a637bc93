//! `codex debug policy`: what is in effect, and why.

use codex_core::exec::try_namespaces;

use crate::args::PolicyArgs;
use crate::meaning::Meaning;
use crate::render;

pub(crate) fn policy(args: &PolicyArgs) -> i32 {
    let meaning = match Meaning::of(&args.policy) {
        Ok(meaning) => meaning,
        Err(error) => return render::refusal(&error.to_string(), error.exit_code()),
    };
    // Shown below, as the level and the reason for it.
    drop(try_namespaces());
    // A refused policy is shown all the same: this is where one looks for the reason.
    let sandbox = meaning.sandbox();
    let printed = if args.json {
        render::policy::json(&meaning, &sandbox)
    } else {
        render::policy::table(&meaning, &sandbox)
    };
    match sandbox {
        Ok(_) => printed,
        Err(error) => render::refusal(&error.to_string(), error.exit_code()),
    }
}
