//! How the program is put together: where it begins.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if variable("CARGO_CFG_TARGET_ARCH") == "x86_64" && variable("CARGO_CFG_TARGET_OS") == "linux" {
        // In src/entry.rs.
        println!("cargo::rustc-link-arg-bin=codex=-Wl,-e,codex_start");
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
