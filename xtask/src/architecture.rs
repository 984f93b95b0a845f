//! The map of crates in docs/architecture.md is what the manifests say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::run::root;
use crate::workspace::packages;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Whose arrows are not drawn: they ask for what they test, xtask for features of all.
const NOT_DRAWN: [&str; 4] = ["xtask", "crates/testkit", "crates/simulation", "crates/fuzz"];

/// Arrows of the picture, by folders.
fn drawn(text: &str) -> Arrows {
    let picture = text.split_once("```mermaid\n").unwrap().1.split_once("```").unwrap().0;
    let mut arrows = Arrows::new();
    for line in picture.lines().map(str::trim) {
        if let Some((name, label)) = line.split_once("[\"").filter(|_| !line.starts_with("sub")) {
            let folder = label.trim_end_matches("\"]");
            arrows.entry(format!("{name} is called")).or_default().insert(folder.to_owned());
        }
        let Some((from, to)) = line.split_once(" --> ") else { continue };
        let to = to.split(" & ").map(str::to_owned);
        arrows.entry(from.to_owned()).or_default().extend(to);
    }
    let folder = |name: &String| {
        let called = arrows.get(&format!("{name} is called"));
        let name = called.and_then(BTreeSet::first).unwrap_or(name);
        let lies_here = |folder: &&String| root().join(folder).join("Cargo.toml").is_file();
        Some(name).filter(lies_here).cloned().unwrap_or_else(|| format!("crates/{name}"))
    };
    let is_arrow = |(name, _): &(&String, _)| !name.ends_with(" is called");
    let named =
        |(from, to): (&String, &BTreeSet<String>)| (folder(from), to.iter().map(folder).collect());
    arrows.iter().filter(is_arrow).map(named).collect()
}

fn stated() -> Arrows {
    let packages = packages(&root()).unwrap();
    let is_drawn = |folder: &str| !NOT_DRAWN.contains(&folder);
    let drawn = packages.into_iter().filter(|package| is_drawn(&package.folder));
    drawn.filter(|p| !p.ours.is_empty()).map(|p| (p.folder, p.ours)).collect()
}

#[test]
fn arrows_are_as_drawn() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (drawn, stated) = (drawn(&text), stated());
    for (from, to) in &stated {
        let picture = drawn.get(from).cloned().unwrap_or_default();
        assert_eq!(&picture, to, "{from}: the picture in docs/architecture.md, and its manifest");
    }
    assert!(drawn.keys().all(|from| stated.contains_key(from)), "an arrow starts nowhere");
}

#[test]
fn every_crate_has_a_line_that_says_what_it_must_not_know() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for package in packages(&root()).unwrap() {
        let line = format!("| {} |", package.folder);
        assert!(text.contains(&line), "docs/architecture.md has no line `{line}`");
    }
}

#[test]
fn arrows_make_no_circle() {
    let packages = packages(&root()).unwrap();
    let mut left: Arrows = packages.into_iter().map(|p| (p.folder, p.ours)).collect();
    while !left.is_empty() {
        let leaf = left.iter().find(|(_, to)| to.iter().all(|to| !left.contains_key(to)));
        let leaf = leaf.unwrap_or_else(|| panic!("in a circle: {:?}", left.keys())).0.clone();
        left.remove(&leaf);
    }
}
