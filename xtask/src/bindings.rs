//! Makes the JavaScript bindings, without a globally installed tool.

use crate::run::{cargo, root, succeed};
use anyhow::{Context, Result};
use std::path::PathBuf;
use wasm_bindgen_cli_support::Bindgen;

/// Make the JavaScript bindings of the trainer and of the generator.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where they go.
    #[arg(long, default_value = "www/bindings/pkg")]
    out: PathBuf,
    /// For node instead of the browser.
    #[arg(long)]
    node: bool,
    /// Only this half of them, `stream` or `train`.
    #[arg(long)]
    half: Option<String>,
}

/// `cargo xtask bindings`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = root().join("target/bindings");
    let mut build = cargo(["build", "--quiet", "--package", "twinge-bindings", "--lib"]);
    build.args(["--profile", "release", "--target", "wasm32-unknown-unknown", "--target-dir"]);
    build.arg(&target);
    if let Some(half) = &arguments.half {
        build.args(["--no-default-features", "--features", half]);
    }
    succeed(&mut build)?;
    let module = target.join("wasm32-unknown-unknown/release/twinge_bindings.wasm");
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).typescript(true);
    if let Some(half) = &arguments.half {
        bindgen.out_name(half);
    }
    if arguments.node { bindgen.nodejs(true) } else { bindgen.web(true) }
        .context("the kind of bindings")?;
    bindgen.generate(root().join(&arguments.out)).context("the bindings cannot be made")
}
