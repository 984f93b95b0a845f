//! Builds the guest runtime (detector-wasm) for wasm32-unknown-unknown, so that a plain
//! `cargo build` of any program that trains has it embedded.
//!
//! The guest gets a target folder of its own, where no lock of the outer build is in the way, and
//! none of the outer build's flags: its bytes must depend on its source alone.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const TARGET: &str = "wasm32-unknown-unknown";

fn main() {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let root =
        manifest_dir.ancestors().nth(2).expect("crates/fit lies two folders deep").to_owned();
    for source in [
        "crates/contract/src",
        "crates/detector/src",
        "detector-wasm/src",
        "Cargo.lock",
        "Cargo.toml",
    ] {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let target_dir = out.join("guest");
    build_guest(&root, &target_dir);
    let built = target_dir.join(TARGET).join("guest").join("detector_wasm.wasm");
    std::fs::copy(&built, out.join("runtime.wasm")).unwrap_or_else(|error| {
        fail(&format!("the guest was built but {} cannot be copied: {error}", built.display()))
    });
}

fn build_guest(root: &Path, target_dir: &Path) {
    let cargo = variable("CARGO");
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args([
            "build",
            "--package",
            "detector-wasm",
            "--lib",
            "--profile",
            "guest",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", guest_flags(root).join("\u{1f}"));
    // Clippy, coverage tools and the outer cargo leave these behind; none may reach the guest.
    for name in
        ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "RUSTC"]
    {
        command.env_remove(name);
    }
    let output =
        command.output().unwrap_or_else(|error| fail(&format!("cargo cannot be started: {error}")));
    if output.status.success() {
        return;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("can't find crate for `core`")
        || errors.contains("target may not be installed")
    {
        fail(&format!(
            "the Rust target {TARGET} is not installed: run `rustup target add {TARGET}` and build again"
        ));
    }
    fail(&format!("the guest runtime (detector-wasm) does not build:\n{errors}"));
}

/// A small stack, and no path of this machine in the bytes.
fn guest_flags(root: &Path) -> Vec<String> {
    let mut flags =
        vec!["-Clink-arg=-zstack-size=65536".to_owned(), "-Ctarget-feature=+simd128".to_owned()];
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    if let Some(home) = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
    {
        remap(&home, "/cargo");
    }
    remap(root, "/twinge");
    flags
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

#[expect(clippy::print_stderr, reason = "a build script's way to say why it failed")]
fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo:warning={line}");
    }
    eprintln!("{message}");
    exit(1)
}
