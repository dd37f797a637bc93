//! What an act could reach, and whether it did.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use codex_tests::harness::{Listener, Policy, Run, Scene, Snapshot, Victim};

/// A scene for one act: files, a process and listeners, as far as the act's words name them.
pub(crate) struct World {
    stage: Scene,
    victim: Option<RefCell<Victim>>,
    listeners: Vec<(String, Listener)>,
    watched: &'static [&'static str],
}

/// What was seen of the world.
pub(crate) struct Seen {
    trees: Vec<Snapshot>,
    victim: Option<String>,
}

impl World {
    pub(crate) fn new(
        scene: &Scene,
        name: &str,
        words: &str,
        furnish: fn(&Scene),
        watched: &'static [&'static str],
    ) -> Self {
        let stage = scene.fresh(name);
        furnish(&stage);
        if words.contains("{out}/marked") {
            mark(&stage);
        }
        let about_a_process = ["{pid}", "{clock}"].iter().any(|word| words.contains(word));
        let victim = about_a_process.then(|| RefCell::new(stage.victim()));
        // Each takes a descriptor or two and a moment: only where the act is about them.
        let about_sockets =
            ["{to:", "{port:", ".socket", "link-to-stream"].iter().any(|word| words.contains(word));
        let listeners = if about_sockets { listen(&stage) } else { Vec::new() };
        Self { stage, victim, listeners, watched }
    }

    /// The probe's arguments; `None` where this machine has nothing to put in a place.
    pub(crate) fn fill(&self, words: &str) -> Option<Vec<OsString>> {
        words.split(' ').map(|word| self.fill_word(word).map(OsString::from)).collect()
    }

    fn fill_word(&self, word: &str) -> Option<String> {
        let mut text = word
            .replace("{out}", &self.stage.outside().to_string_lossy())
            .replace("{in}", &self.stage.workspace().to_string_lossy());
        if let Some(victim) = &self.victim {
            let pid = victim.borrow().pid().as_raw();
            text = text.replace("{pid}", &pid.to_string());
            // The number of the clock that counts a process's time (`clock_getcpuclockid(3)`).
            text = text.replace("{clock}", &((!pid << 3) | 2).to_string());
        }
        for (name, listener) in &self.listeners {
            text = text.replace(&format!("{{to:{name}}}"), &listener.address);
            text = text.replace(&format!("{{port:{name}}}"), listener.port());
        }
        for (place, find) in
            [("{machine}", machine as fn() -> Option<String>), ("{disk}", disk), ("{cgroup}", control_group)]
        {
            if text.contains(place) {
                text = text.replace(place, &find()?);
            }
        }
        Some(text)
    }

    /// Runs the act.
    pub(crate) fn act(&self, policy: Policy, arguments: &[OsString]) -> Run {
        self.stage.under(policy).probe(arguments).run()
    }

    /// Where it runs.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.stage.workspace()
    }

    pub(crate) fn look(&self) -> Seen {
        Seen {
            trees: self.watched.iter().map(|tree| Snapshot::with_metadata(&self.stage.path(tree))).collect(),
            victim: self.victim.as_ref().map(|victim| describe(&victim.borrow())),
        }
    }

    /// What is not as it was; empty where everything is.
    pub(crate) fn harm_since(&self, before: &Seen) -> String {
        let after = self.look();
        let mut harm: String =
            before.trees.iter().zip(&after.trees).map(|(one, other)| one.difference(other)).collect();
        if before.victim != after.victim {
            writeln!(harm, "    the victim was {:?}, and is {:?}", before.victim, after.victim)
                .expect("a String takes text");
        } else if let Some(victim) = &self.victim
            && !victim.borrow_mut().answers()
        {
            harm.push_str("    the victim answers no more\n");
        }
        for (name, listener) in &self.listeners {
            if listener.heard() {
                writeln!(harm, "    {name} heard something").expect("a String takes text");
            }
        }
        harm
    }
}

/// Gives a file an attribute to be taken away, where the file system has any.
fn mark(stage: &Scene) {
    let path = stage.file("outside/marked", "marked\n");
    let number = libc::SYS_setxattr.to_string();
    let target = format!("text:{}", path.display());
    let words = ["syscall", &number, &target, "text:user.note", "text:x", "1", "0"];
    drop(stage.under(Policy::Bare).probe(words).run());
}

fn listen(stage: &Scene) -> Vec<(String, Listener)> {
    let names = [
        "tcp4",
        "tcp6",
        "udp4",
        "udp6",
        "stream",
        "datagram",
        "seqpacket",
        "abstract-stream",
        "abstract-datagram",
        "abstract-seqpacket",
    ];
    let mut listeners: Vec<(String, Listener)> =
        names.map(str::to_owned).into_iter().zip(Listener::all(stage)).collect();
    listeners.push(("any4".to_owned(), Listener::tcp("0.0.0.0")));
    listeners.push(("udp-any4".to_owned(), Listener::udp("0.0.0.0")));
    listeners.push(("fifo".to_owned(), Listener::fifo(stage)));
    let within = stage.workspace().join("host.socket");
    listeners.push(("within".to_owned(), Listener::unix_stream_at(stage, &within)));
    let datagrams = stage.workspace().join("host-datagram.socket");
    listeners.push(("datagrams-within".to_owned(), Listener::unix_datagram_at(stage, &datagrams)));
    let stream = stage.outside().join("stream.socket");
    fs::hard_link(&stream, stage.workspace().join("linked.socket")).expect("give the socket a second name");
    stage.symlink(stream, "workspace/link-to-stream");
    listeners
}

/// What an act could change in a process: as the kernel tells it.
fn describe(victim: &Victim) -> String {
    let file = |name: &str| {
        fs::read_to_string(format!("/proc/{}/{name}", victim.pid())).unwrap_or_else(|error| error.to_string())
    };
    let stat = file("stat");
    // After the name, which may hold anything: the state is field 3, the priority 18, the niceness 19, the policy 41.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let chosen = [0, 15, 16, 38].map(|index| fields.get(index).copied().unwrap_or("?"));
    let status = file("status");
    let processors = status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap_or_default();
    // It sleeps, or is on its way there.
    let state = if matches!(chosen[0], "S" | "R" | "D") { "lives" } else { chosen[0] };
    format!("{state} {:?} {processors} {} {}", &chosen[1..], file("oom_score_adj").trim(), file("limits"))
}

/// An address of this machine that is not loopback. Connecting a UDP socket sends nothing.
fn machine() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address for documentation: it is nobody's.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// A disk, which only the name is taken of.
fn disk() -> Option<String> {
    let table = fs::read_to_string("/proc/partitions").ok()?;
    let name = table.split_whitespace().last()?;
    let path = format!("/dev/{name}");
    fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_block_device()).then_some(path)
}

/// A hierarchy of control groups of the first version, which alone has release agents.
fn control_group() -> Option<String> {
    let path = "/sys/fs/cgroup";
    let mut names: Vec<String> = fs::read_dir(path)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| fs::metadata(format!("{path}/{name}/release_agent")).is_ok())
        .collect();
    names.sort();
    names.into_iter().next()
}
