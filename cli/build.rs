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

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
