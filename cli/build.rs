//! How the program is put together: where it begins, and in what order its functions lie.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=order.txt");
    if !linker_is_the_usual_one() {
        return;
    }
    if begins_before_the_c_library() {
        println!("cargo::rustc-cfg=begins_before_libc");
        // In src/entry.rs.
        println!("cargo::rustc-link-arg-bin=codex=-Wl,-e,codex_start");
        // The table of the addresses that are to be corrected at the start, with a bit for each instead of 24 bytes: 0.6 MB less.
        if variable("HOST") == variable("TARGET") && brings_lld() && the_c_library_knows_short_tables() {
            println!("cargo::rustc-link-arg-bin=codex=-Wl,-z,pack-relative-relocs");
        }
    }
    // The functions that a start comes to (benches/order) side by side, so that it touches a third of the pages. A name that
    // is not there is passed over.
    if variable("TARGET") == "x86_64-unknown-linux-gnu" && variable("PROFILE") == "release" && brings_lld() {
        let order = Path::new(&variable("CARGO_MANIFEST_DIR")).join("order.txt");
        println!("cargo::rustc-link-arg-bin=codex=-Wl,--symbol-ordering-file={}", order.display());
        println!("cargo::rustc-link-arg-bin=codex=-Wl,--no-warn-symbol-ordering");
        // Functions that came out the same, as generic ones do for many types, are kept once. Nothing here tells functions apart by
        // their addresses.
        println!("cargo::rustc-link-arg-bin=codex=-Wl,--icf=all");
    }
}

/// Whether nobody has named a linker, nor how it is to be called: others need not know these options, nor `-Wl`.
fn linker_is_the_usual_one() -> bool {
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    variable("RUSTC_LINKER").is_empty()
        && !["linker", "fuse-ld", "link-self-contained"].iter().any(|flag| flags.contains(flag))
}

/// Whether src/entry.rs is made for the target. Where the C library is linked by a loader, that one begins.
fn begins_before_the_c_library() -> bool {
    variable("CARGO_CFG_TARGET_ARCH") == "x86_64"
        && variable("CARGO_CFG_TARGET_POINTER_WIDTH") == "64"
        && variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ENV") == "gnu"
        && variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static")
}

/// Whether the compiler brings the linker that it uses for the target: others do not know the order.
fn brings_lld() -> bool {
    let Ok(answer) = Command::new(variable("RUSTC")).args(["--print", "sysroot"]).output() else {
        return false;
    };
    let Ok(sysroot) = String::from_utf8(answer.stdout) else { return false };
    let tools =
        Path::new(sysroot.trim()).join("lib/rustlib").join(variable("HOST")).join("bin/gcc-ld/ld.lld");
    tools.exists()
}

/// Whether the C library of this machine, which comes into the program, corrects addresses by `DT_RELR`: glibc does since 2.36. An
/// older one would pass them over, and the program would end at its first step.
fn the_c_library_knows_short_tables() -> bool {
    let Ok(answer) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let said = String::from_utf8_lossy(&answer.stdout);
    let Some((major, minor)) = said.trim().strip_prefix("glibc ").and_then(|version| version.split_once('.'))
    else {
        return false;
    };
    let Ok(major) = major.parse::<u32>() else { return false };
    let Some(Ok(minor)) = minor.split('.').next().map(str::parse::<u32>) else { return false };
    (major, minor) >= (2, 36)
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
