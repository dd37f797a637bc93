use std::num::NonZeroU64;
use std::path::Path;

use codex_linux_sandbox::{
    Act, Attempt, Isolation, Kept, Network, Plan, PlanPath, Protected, Record, Writes,
};
use nix::errno::Errno;

use super::{MOST_ONLY_HERE, Replay};
use crate::denial::Seen;

fn seen(act: Act, target: &Path, second: Option<&Path>, errno: Errno) -> Seen {
    let attempt = Attempt {
        act,
        target: target.into(),
        second: second.map(Into::into),
        places: [None, None],
        errno,
        process: 7,
        program: "mv".into(),
        count: 2,
        first: 0,
    };
    Seen { attempt, first_ms: 0.0 }
}

#[test]
fn what_only_a_view_refuses_is_told_apart() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    for place in ["directory", ".git"] {
        std::fs::create_dir_all(tree.join(place)).unwrap();
    }
    std::fs::write(tree.join("file"), "").unwrap();
    let path = |path: &Path| PlanPath::new(path).unwrap();
    let mut plan = Plan::new(Isolation::Namespaces, Writes::Beneath(vec![path(&tree)]), Network::Off);
    plan.view = NonZeroU64::new(4096);
    plan.places.protected = vec![Protected { path: path(&tree.join(".git")), kept: Kept::Pinned }];
    let (directory, file, outside) = (tree.join("directory"), tree.join("file"), scratch.path().join("new"));
    let (moved, git) = (tree.join("moved"), tree.join(".git/moved"));
    let told = |seen: Seen| {
        let replay = Replay::of(&plan, &[], &[seen]);
        assert_eq!(replay.bytes, 4096);
        (!replay.only_here.is_empty(), replay.full)
    };
    assert_eq!(told(seen(Act::Rename, &directory, Some(&moved), Errno::EXDEV)), (true, false));
    // Across mounts that there are without a view as well.
    assert_eq!(told(seen(Act::Rename, &directory, Some(&outside), Errno::EXDEV)), (false, false));
    assert_eq!(told(seen(Act::Rename, &directory, Some(&git), Errno::EXDEV)), (false, false));
    // What can be renamed in a view.
    assert_eq!(told(seen(Act::Rename, &file, Some(&moved), Errno::EXDEV)), (false, false));
    assert_eq!(told(seen(Act::Write, &file, None, Errno::EOVERFLOW)), (true, false));
    assert_eq!(told(seen(Act::Write, &outside, None, Errno::EOVERFLOW)), (false, false));
    assert_eq!(told(seen(Act::WriteOrCreate, &moved, None, Errno::ENOSPC)), (true, true));
    assert_eq!(told(seen(Act::WriteOrCreate, &outside, None, Errno::ENOSPC)), (false, false));
    assert_eq!(told(seen(Act::WriteOrCreate, &moved, None, Errno::EROFS)), (false, false));
    assert!(Replay::of(&plan, &[Record::Full], &[]).full);
    let flood: Vec<Seen> = (0..2 * MOST_ONLY_HERE)
        .map(|index| seen(Act::Create, &tree.join(index.to_string()), None, Errno::ENOSPC))
        .collect();
    assert_eq!(Replay::of(&plan, &[], &flood).only_here.len(), MOST_ONLY_HERE);
}
