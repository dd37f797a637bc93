//! How the program is put together: where it begins, and in what order its functions lie.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=order.txt");
    if variable("CARGO_CFG_TARGET_ARCH") != "x86_64" || variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    // In src/entry.rs.
    println!("cargo::rustc-link-arg-bin=codex=-Wl,-e,codex_start");
    // The functions that a start comes to (benches/order) side by side, so that it touches a third of the pages. A name that
    // is not there is passed over.
    if variable("PROFILE") == "release" && links_with_lld() {
        let order = Path::new(&variable("CARGO_MANIFEST_DIR")).join("order.txt");
        println!("cargo::rustc-link-arg-bin=codex=-Wl,--symbol-ordering-file={}", order.display());
        println!("cargo::rustc-link-arg-bin=codex=-Wl,--no-warn-symbol-ordering");
    }
}

/// Whether the compiler brings the linker that it uses unless it is told otherwise: others do not know the option.
fn links_with_lld() -> bool {
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    if ["linker", "fuse-ld", "link-self-contained"].iter().any(|flag| flags.contains(flag)) {
        return false;
    }
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
