//! The helper's argument list.

use std::hint::black_box;
use std::time::Instant;

use codex_linux_sandbox::{Command, Invocation, Isolation, Network, Plan, PlanPath, Writes, wire};

use crate::Outcome;
use crate::measure::{Case, in_turn};
use crate::programs::Programs;
use crate::table::Table;

const ROOTS: [u32; 3] = [1, 100, 1000];
/// How many trees are written or read in one timing.
const TREES_A_TIMING: u32 = 20_000;
const ROUNDS: usize = 30;

pub(crate) fn measure(_programs: &Programs) -> Outcome<Table> {
    let mut table =
        Table::new(["roots", "encode µs", "decode µs", "both, ns a root"], "The shortest of 30 rounds.");
    for roots in ROOTS {
        let invocation = invocation(roots)?;
        let arguments = wire::encode(&invocation);
        if wire::decode(arguments.clone(), || Err("not asked for"))? != invocation {
            return Err("the arguments say something else than the invocation".into());
        }
        let times = TREES_A_TIMING / roots;
        let encode = Case::new("encode", || {
            let start = Instant::now();
            for _ in 0..times {
                black_box(wire::encode(black_box(&invocation)));
            }
            Ok(start.elapsed() / times)
        });
        let decode = Case::new("decode", || {
            // The helper gets its arguments as owned strings, so that making them is no part of reading them.
            let lists: Vec<_> = (0..times).map(|_| arguments.clone()).collect();
            let start = Instant::now();
            for list in lists {
                black_box(wire::decode(black_box(list), || Err("not asked for"))?);
            }
            Ok(start.elapsed() / times)
        });
        let timings = in_turn(ROUNDS, vec![encode, decode])?;
        let [encode, decode] = [timings[0].minimum(), timings[1].minimum()];
        table.row([
            roots.to_string(),
            format!("{:.2}", encode * 1e6),
            format!("{:.2}", decode * 1e6),
            format!("{:.0}", (encode + decode) * 1e9 / f64::from(roots)),
        ]);
    }
    Ok(table)
}

fn invocation(roots: u32) -> Outcome<Invocation> {
    let trees =
        (0..roots).map(|number| PlanPath::new(format!("/home/user/projects/number-{number}/checkout")));
    let writes = Writes::Beneath(trees.collect::<Result<_, _>>()?);
    let plan = Plan::new(Isolation::Landlock, writes, Network::Off);
    let arguments = ["-c".into(), "make -j2 all".into()].into();
    Ok(Invocation::new(plan, Command { program: "/bin/sh".into(), argv0: None, arguments }))
}
