//! The guest's tests under Miri, which knows what each address may point at.

use crate::run::{output, root, succeed, tell};
use anyhow::{Context, Result};
use std::process::Command;

/// Addresses have 32 bits there, as in a module, and mathematics no assembler.
const TARGET: &str = "armv7-unknown-linux-gnueabihf";

/// Runs what holds unsafe code and is shipped. It needs a nightly toolchain, which it asks rustup for.
pub(crate) fn miri() -> Result<()> {
    let mut add = Command::new("rustup");
    add.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
    output(add.args(["--component", "miri", "--component", "rust-src"]))
        .context("Miri is part of nightly toolchains: rustup toolchain install nightly")?;
    // The compiler of this workspace is another, and its environment would be inherited.
    let mut test = Command::new("rustup");
    test.current_dir(root()).args(["run", "nightly", "cargo", "miri", "test", "--quiet"]);
    test.args(["--package", "detector-wasm", "--target", TARGET]);
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        test.env_remove(name);
    }
    // Addresses are numbers on their way in and out: that is the interface. Trees of borrows cost less.
    test.env("MIRIFLAGS", "-Zmiri-permissive-provenance -Zmiri-tree-borrows");
    succeed(test.env("CARGO_TARGET_DIR", root().join("target/miri")))?;
    tell("the guest's unsafe code: nothing that Miri knows to be undefined");
    Ok(())
}
