//! Landlock's refusals in the kernel's audit log, with a kernel that writes them.
//!
//! Auditing is the whole machine's: it is switched on and off by the test, which is run by hand for that reason. What is
//! read of the log is tested in `codex-core` with recorded records.

use std::os::fd::{AsRawFd as _, OwnedFd};

use codex_tests::harness::{Identity, Level, Policy, Run, Scene, run_case};
use codex_tests::programs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use serde_json::Value;

use crate::{denials, furnish, json};

/// `AUDIT_GET` and `AUDIT_SET` of `linux/audit.h`, and the bit for "enabled" in the mask of what is set.
const GET: u16 = 1000;
const SET: u16 = 1001;
const ENABLED: u32 = 1;
/// `NLM_F_REQUEST` and `NLM_F_ACK` of `linux/netlink.h`, and the length of a header.
const REQUEST: u16 = 1;
const ACKNOWLEDGED: u16 = 4;
const HEADER: usize = 16;

/// Auditing, which is as it was before when this is dropped.
struct Auditing {
    socket: OwnedFd,
    before: u32,
}

impl Auditing {
    fn on() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkAudit)
            .expect("a socket to the audit system");
        let mut auditing = Self { socket, before: 0 };
        auditing.before = auditing.ask(GET, REQUEST, &[])[1];
        auditing.set(1);
        auditing
    }

    fn set(&self, enabled: u32) {
        let answer = self.ask(SET, REQUEST | ACKNOWLEDGED, &[ENABLED, enabled, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer[0], 0, "auditing takes root in the first namespaces");
    }

    /// The words of the kernel's answer.
    fn ask(&self, kind: u16, flags: u16, words: &[u32]) -> Vec<u32> {
        let length = u32::try_from(HEADER + 4 * words.len()).expect("a short message");
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty()).expect("ask the kernel");
        let mut answer = [0; 1024];
        let length =
            recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("the kernel answers");
        answer[HEADER..length].as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
    }
}

impl Drop for Auditing {
    fn drop(&mut self) {
        self.set(self.before);
    }
}

#[test]
#[ignore = "switches auditing on for the whole machine: by hand, as root in the first namespaces, with nothing beside it"]
fn what_landlock_refuses_is_read_in_the_kernels_log() {
    run_case("kernel_log", Identity::Root, Some(Level::Landlock), programs!(), refused_and_read);
}

/// Operation, target and certainty of each denial.
fn rows(run: &Run) -> Vec<String> {
    let text = |denial: &Value, field: &str| denial[field].as_str().unwrap_or("-").to_owned();
    let row =
        |denial: &Value| ["operation", "target", "certainty"].map(|field| text(denial, field)).join(" ");
    denials(run).iter().map(row).collect()
}

fn why(run: &Run) -> String {
    json(run)["enforcement"]["explanation"]["why"].as_str().unwrap_or_default().to_owned()
}

fn refused_and_read(scene: &Scene) {
    furnish(scene);
    let outside = scene.outside().display().to_string();
    let victim = scene.victim();
    let run = |script: &str| scene.under(Policy::WorkspaceWrite).options(["--json"]).shell(script).run();
    // None of it says anything.
    let silent = format!(
        "exec 2>/dev/null; cd {outside}; echo x > file; echo x > new; echo x > dir/new; rm dir/entry; mv file moved; \
         kill -0 {}; cat missing; exit 3",
        victim.pid()
    );
    let before = run(&silent);
    assert!(!why(&before).contains("audit log") && rows(&before).is_empty(), "{}", before.describe());

    let auditing = Auditing::on();
    let all = run(&silent);
    let expected = [
        format!("write {outside}/file exact"),
        format!("create {outside}/… exact"),
        format!("create {outside}/dir/… exact"),
        format!("remove {outside}/dir/… exact"),
        format!("rename {outside}/… exact"),
        format!("signal {} exact", victim.pid()),
    ];
    assert_eq!(rows(&all), expected, "{}", all.describe());
    assert!(why(&all).contains("audit log"), "{}", all.describe());
    assert_eq!(json(&all)["denials_untold"], 0, "{}", all.describe());
    // What fails for another reason, and what goes well, is told nothing.
    for script in ["exec 2>/dev/null; cat missing; mkdir file; exit 3", "echo x > file"] {
        let run = run(script);
        assert_eq!(rows(&run), [""; 0], "{}", run.describe());
    }
    assert_eq!(rows(&run(&format!("echo x > {outside}/file || true"))), [""; 0]);
    // Two at once: each is told its own, and how often.
    let start = |name: &str| {
        let script = format!(
            "exec 2>/dev/null; for i in 1 2 3 4 5 6 7 8 9; do rm {outside}/{name}/entry; done; exit 3"
        );
        scene.under(Policy::WorkspaceWrite).options(["--json"]).shell(&script).start()
    };
    scene.directory("outside/other");
    scene.file("outside/other/entry", "x\n");
    let both = [("dir", start("dir")), ("other", start("other"))];
    for (name, running) in both {
        let run = running.finish();
        assert_eq!(rows(&run), [format!("remove {outside}/{name}/… exact")], "{}", run.describe());
        assert_eq!(denials(&run)[0]["count"], 9, "{}", run.describe());
    }
    // A flood is counted, as far as the kernel had room for it, and holds up nobody.
    let flood = run(&format!(
        "exec 2>/dev/null; i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo x > {outside}/file; done; exit 3"
    ));
    assert_eq!(rows(&flood), [format!("write {outside}/file exact")], "{}", flood.describe());
    let count = denials(&flood)[0]["count"].as_u64().expect("a count");
    let untold = json(&flood)["denials_untold"].as_u64().expect("a number");
    assert!(count == 5000 || (count < 5000 && untold > 0), "{}", flood.describe());
    // With the word, nobody listens.
    scene.file("codex-home/config.toml", "sandbox.explain = \"never\"\n");
    let never = run(&silent);
    assert!(!why(&never).contains("audit log") && rows(&never).is_empty(), "{}", never.describe());
    drop(auditing);
}
