//! What single calls cost a command in the sandbox, and observed there, against the same command outside.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::measure::{Case, in_turn};
use crate::programs::{BWRAP_NAMESPACES, Programs, quiet};
use crate::table::Table;

/// Makes this program the worker that times its own calls.
pub(crate) const WORKER: &str = "inside-worker";

/// How many calls make one timing.
const CALLS: u32 = 2_000;
/// How many timings of a kind one worker makes; the shortest counts.
const TIMINGS: usize = 5;
const WORKERS: usize = 10;

/// A kind of work, its budget against bare, and one call of it.
type Work = (&'static str, &'static str, fn(&Path) -> std::io::Result<()>);

const KINDS: [Work; 7] = [
    ("open, close", "1.40", |directory| File::open(directory.join("deep/er/file")).map(drop)),
    ("open to write, close", "", |directory| {
        OpenOptions::new().write(true).open(directory.join("deep/er/file")).map(drop)
    }),
    ("stat", "1.05", |directory| fs::metadata(directory.join("deep/er/file")).map(drop)),
    ("stat of nothing", "1.05", |directory| match fs::metadata(directory.join("deep/er/nothing")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(std::io::ErrorKind::AlreadyExists.into()),
    }),
    ("list a directory", "", |directory| {
        fs::read_dir(directory).map(|entries| {
            black_box(entries.count());
        })
    }),
    ("create, write, remove", "", |directory| {
        File::create(directory.join("new"))?.write_all(b"text")?;
        fs::remove_file(directory.join("new"))
    }),
    ("read 1 byte of /dev/zero", "", |_| {
        thread_local!(static ZERO: std::cell::RefCell<Option<File>> = const { std::cell::RefCell::new(None) });
        ZERO.with_borrow_mut(|zero| {
            if zero.is_none() {
                *zero = Some(File::open("/dev/zero")?);
            }
            zero.as_mut().map_or(Ok(()), |zero| zero.read_exact(&mut [0]))
        })
    }),
];

/// Times every kind of work and prints a line for each: nanoseconds a call.
pub(crate) fn work(directory: &str) -> Outcome<()> {
    let directory = Path::new(directory);
    let mut output = std::io::stdout().lock();
    for (_, _, call) in KINDS {
        let mut best = Duration::MAX;
        for _ in 0..TIMINGS {
            let start = Instant::now();
            for _ in 0..CALLS {
                call(black_box(directory))?;
            }
            best = best.min(start.elapsed());
        }
        writeln!(output, "{}", best.as_nanos() / u128::from(CALLS))?;
    }
    Ok(())
}

pub(crate) fn measure(programs: &Programs) -> Outcome<Table> {
    let directory = programs.workspace();
    fs::create_dir_all(directory.join("deep/er"))?;
    fs::write(directory.join("deep/er/file"), "text")?;

    let worker = [programs.own.as_os_str(), OsStr::new(WORKER), directory.as_os_str()];
    let bare = quiet(&programs.own, worker.into_iter().skip(1));
    let inside = |options: &[&'static str]| {
        let options = [&["sandbox", "--full-auto"], options, &["--"]].concat();
        let mut sandbox = programs.codex(options.into_iter().map(OsStr::new).chain(worker));
        sandbox.current_dir(&directory);
        sandbox
    };
    let mut variants = vec![bare, inside(&[]), inside(&["--explain"])];
    if let Some(bwrap) = &programs.bwrap {
        let mut reference = quiet(bwrap, BWRAP_NAMESPACES.iter().map(|option| OsStr::new(*option)));
        reference.arg("--bind").args([&directory, &directory]).args(worker);
        variants.push(reference);
    }
    let answers = std::cell::RefCell::new(BTreeMap::<(usize, usize), Vec<f64>>::new());
    let cases = variants.into_iter().enumerate().map(|(variant, mut command)| {
        let answers = &answers;
        Case::new("", move || {
            for (kind, nanoseconds) in answer(&mut command)?.into_iter().enumerate() {
                answers.borrow_mut().entry((variant, kind)).or_default().push(nanoseconds);
            }
            // The workers have timed themselves.
            Ok(Duration::ZERO)
        })
    });
    in_turn(WORKERS, cases.collect())?;

    let note = format!(
        "The shortest of {WORKERS} processes with {TIMINGS} × {CALLS} calls each, in nanoseconds. Observed (`--explain`), each call \
         that can be refused may cost 20 000 more; those that read are not watched."
    );
    let mut table = Table::new(["", "bare", "inside", "×", "budget", "observed", "bwrap", "× "], note);
    let answers = answers.into_inner();
    let best = |variant, kind| {
        answers.get(&(variant, kind)).map(|all: &Vec<f64>| all.iter().copied().fold(f64::INFINITY, f64::min))
    };
    for (kind, (name, budget, _)) in KINDS.into_iter().enumerate() {
        let number = |variant| best(variant, kind).map_or_else(|| "–".to_owned(), |ns| format!("{ns:.0}"));
        let ratio = |variant| match (best(variant, kind), best(0, kind)) {
            (Some(one), Some(bare)) => format!("{:.2}", one / bare),
            _ => "–".to_owned(),
        };
        let [bare, inside, observed, reference] = [0, 1, 2, 3].map(number);
        let budget = budget.to_owned();
        table.row([name.to_owned(), bare, inside, ratio(1), budget, observed, reference, ratio(3)]);
    }
    Ok(table)
}

fn answer(worker: &mut Command) -> Outcome<Vec<f64>> {
    let output = worker.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let numbers = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = numbers.lines().map(str::parse).collect::<Result<_, _>>()?;
    if numbers.len() == KINDS.len() {
        return Ok(numbers);
    }
    Err(format!("{worker:?}: {}, {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}
