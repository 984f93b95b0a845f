//! `cargo xtask tidy`: what a reviewer would say first.

mod circles;

use crate::run::{output, print, root};
use anyhow::{Result, ensure};
use circles::{Modules, circles, module_of};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Lines that a file may have, its tests left out.
const FILE_LINES_MAX: usize = 650;
/// Lines that a function may have.
const FUNCTION_LINES_MAX: usize = 80;

/// Circles that are left, by a file of each: a parent that lists its children and holds a type that
/// they share, or programs around the product.
const CIRCLES_LEFT: [&str; 10] = [
    "crates/registry/src/adls/sas.rs",
    "crates/simulation/src/world.rs",
    "crates/stream/src/rights/mod.rs",
    "host/src/hub/settings.rs",
    "host/src/lake/outlet.rs",
    "xtask/src/bench/host.rs",
    "xtask/src/bench/native.rs",
    "xtask/src/devices/mod.rs",
    "xtask/src/monitoring/otlp.rs",
    "xtask/src/page/build.rs",
];
/// A function that is a table.
const LONG_LEFT: [&str; 1] = ["crates/stream/src/metrics.rs"];

/// `cargo xtask tidy`.
pub(crate) fn run() -> Result<()> {
    let remarks = remarks()?;
    for remark in &remarks {
        print(remark);
    }
    ensure!(remarks.is_empty(), "{} remarks", remarks.len());
    Ok(())
}

/// A sentence for each thing that is not as it should be.
fn remarks() -> Result<Vec<String>> {
    let mut list = Command::new("git");
    list.current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]);
    let (mut remarks, mut crates) = (Vec::new(), BTreeMap::<String, Modules>::new());
    for file in output(&mut list)?.lines().filter(|file| root().join(file).is_file()) {
        let source = fs::read_to_string(root().join(file))?;
        let Some((folder, inside)) = file.split_once("/src/") else { continue };
        remarks.extend(of_file(file, &source));
        if let Some(module) = module_of(Path::new(inside)) {
            let modules = crates.entry(folder.to_owned()).or_default();
            modules.insert(module, (file.to_owned(), source));
        }
    }
    let is_left =
        |group: &Vec<String>| group.iter().any(|file| CIRCLES_LEFT.contains(&file.as_str()));
    for group in crates.values().flat_map(circles).filter(|group| !is_left(group)) {
        remarks.push(format!("in a circle: {}", group.join(", ")));
    }
    Ok(remarks)
}

fn of_file(file: &str, source: &str) -> Vec<String> {
    let mut remarks = Vec::new();
    if file.ends_with("/tests.rs") {
        return remarks;
    }
    if !source.trim_start().starts_with("//!") {
        remarks.push(format!("{file}: does not say what it is for (`//!`)"));
    }
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().count();
    if lines > FILE_LINES_MAX {
        remarks.push(format!("{file}: {lines} lines are two rooms"));
    }
    for (name, line, length) in functions(code) {
        if length > FUNCTION_LINES_MAX && !LONG_LEFT.contains(&file) {
            remarks.push(format!(
                "{file}:{line}: `{name}` has {length} lines: it does not fit a screen"
            ));
        }
    }
    remarks
}

/// Functions by name, line and length, as the formatter lays them out.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let (mut found, mut open): (Vec<_>, Option<(String, usize, String)>) = (Vec::new(), None);
    for (number, line) in (1..).zip(code.lines()) {
        let indent = line.len() - line.trim_start().len();
        if let Some((name, from, end)) = open.take() {
            if line == end {
                found.push((name, from, number - from + 1));
            } else if !(line.ends_with(';') && indent + 1 == end.len()) {
                // Else it was a signature without a body.
                open = Some((name, from, end));
            }
        } else if let Some((_, rest)) =
            line.split_once("fn ").filter(|_| !line.trim_end().ends_with(';'))
        {
            let name = rest.split(['(', '<']).next().unwrap_or(rest).to_owned();
            let is_whole = line.trim_end().ends_with('}') || line.trim_start().starts_with("//");
            open = (!is_whole).then(|| (name, number, format!("{}}}", " ".repeat(indent))));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::{functions, remarks};

    #[test]
    fn the_tree_is_tidy() {
        let remarks = remarks().unwrap();
        assert!(remarks.is_empty(), "{}", remarks.join("\n"));
    }

    #[test]
    fn functions_are_measured() {
        let code = "fn one() {}\n    fn two(\n        x: u8,\n    ) {\n        f();\n    }\n";
        assert_eq!(functions(code), [("two".to_owned(), 2, 5)]);
    }
}
