//! What the build script asks of the linker, by what it is told of the build.

#![expect(clippy::unwrap_used, reason = "a test reports by failing")]

use std::path::Path;
use std::process::Command;

/// The entry point, which is compiled as well.
const ENTRY: &str = "cargo::rustc-link-arg-bin=codex=-Wl,-e,codex_start";
const SHORT_TABLES: &str = "cargo::rustc-link-arg-bin=codex=-Wl,-z,pack-relative-relocs";
const ORDER: &str = "cargo::rustc-link-arg-bin=codex=-Wl,--symbol-ordering-file=/here/order.txt";

/// The build of a release as it is on x86-64, but for what is changed: whether the entry point, the order and short tables are
/// asked for.
fn asked(script: &Path, sysroot: &Path, changes: &[(&str, &str)]) -> (bool, bool, bool) {
    let mut build = Command::new(script);
    build.env_clear().envs([
        ("TARGET", "x86_64-unknown-linux-gnu"),
        ("HOST", "x86_64-unknown-linux-gnu"),
        ("PROFILE", "release"),
        ("CARGO_MANIFEST_DIR", "/here"),
        ("CARGO_CFG_TARGET_ARCH", "x86_64"),
        ("CARGO_CFG_TARGET_POINTER_WIDTH", "64"),
        ("CARGO_CFG_TARGET_OS", "linux"),
        ("CARGO_CFG_TARGET_ENV", "gnu"),
        ("CARGO_CFG_TARGET_FEATURE", "crt-static,fxsr,sse,sse2"),
        ("CARGO_ENCODED_RUSTFLAGS", "-C\u{1f}target-feature=+crt-static"),
    ]);
    build.env("PATH", format!("{}:/usr/bin:/bin", sysroot.display()));
    let output = build.env("RUSTC", sysroot.join("rustc")).envs(changes.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said.contains("\ncargo::rustc-cfg=begins_before_libc\n"),
        said.contains("codex_start"),
        "{said}"
    );
    let has = |option| said.lines().any(|line| line == option);
    assert_eq!(said.contains("symbol-ordering"), has(ORDER), "{said}");
    assert_eq!(said.contains("relocs"), has(SHORT_TABLES), "{said}");
    (has(ENTRY), has(ORDER), has(SHORT_TABLES))
}

#[test]
fn options_are_asked_of_the_linker_that_knows_them() {
    let scratch = tempfile::tempdir().unwrap();
    let script = scratch.path().join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    // The compiler that builds this.
    let mut rustc = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
    let built = rustc.args(["--edition", "2024", "-o"]).arg(&script).arg(source).status().unwrap();
    assert!(built.success());
    // One that brings its linker, whatever this one does.
    let tools = scratch.path().join("lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld");
    std::fs::create_dir_all(&tools).unwrap();
    std::fs::write(tools.join("ld.lld"), "").unwrap();
    program(&scratch.path().join("rustc"), &format!("echo {}", scratch.path().display()));
    let c_library = |said: &str| program(&scratch.path().join("getconf"), &format!("echo '{said}'"));
    c_library("glibc 2.36");

    let asked = |changes: &[(&str, &str)]| asked(&script, scratch.path(), changes);
    assert_eq!(asked(&[]), (true, true, true));
    assert_eq!(asked(&[("PROFILE", "debug")]), (true, false, true));
    // Its linker is another one, and its start.
    let musl = [("TARGET", "x86_64-unknown-linux-musl"), ("CARGO_CFG_TARGET_ENV", "musl")];
    assert_eq!(asked(&musl), (false, false, false));
    assert_eq!(asked(&[("RUSTC_LINKER", "ld.bfd")]), (false, false, false));
    for flags in ["-Clinker=x86_64-linux-musl-gcc", "-C\u{1f}link-arg=-fuse-ld=mold", "-Clinker-flavor=ld"] {
        assert_eq!(asked(&[("CARGO_ENCODED_RUSTFLAGS", flags)]), (false, false, false), "{flags}");
    }
    // The entry point is none of these.
    for change in [
        ("CARGO_CFG_TARGET_FEATURE", "fxsr,sse,sse2"),
        ("CARGO_CFG_TARGET_FEATURE", "no-crt-static"),
        ("CARGO_CFG_TARGET_POINTER_WIDTH", "32"),
        ("CARGO_CFG_TARGET_ARCH", "aarch64"),
        ("CARGO_CFG_TARGET_OS", "macos"),
    ] {
        assert!(!asked(&[change]).0, "{change:?}");
    }
    // A C library that would pass the short tables over, or nobody knows which.
    for (version, knows) in [
        ("glibc 2.37.9000", true),
        ("glibc 3.1", true),
        ("glibc 2.35", false),
        ("glibc 2", false),
        ("", false),
    ] {
        c_library(version);
        assert_eq!(asked(&[]), (true, true, knows), "{version}");
    }
}

/// A program of a shell's commands.
fn program(path: &Path, commands: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{commands}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).unwrap();
}
