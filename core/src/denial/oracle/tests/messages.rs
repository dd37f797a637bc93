//! Lines that look like others.

use super::message;

/// What a line has in quotes is not always a file.
#[test]
fn names_of_errors_and_refs_are_no_files() {
    let text = "  code: 'EROFS',\n  path: '/nowhere/n'\nfatal: cannot lock ref 'refs/heads/x': Unable to create '/r/x.lock': Read-only file system";
    let named = message::read(text).into_iter().filter_map(|said| match said.target {
        message::Target::Path(path) => Some(path),
        _ => None,
    });
    assert_eq!(named.collect::<Vec<_>>(), ["/nowhere/n", "/r/x.lock"]);
}
