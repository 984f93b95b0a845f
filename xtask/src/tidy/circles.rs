//! Files of a crate that refer to each other in a circle. Tests, and a crate's root, which lists what
//! others may use, are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Modules by their path, each with the name of its file and its source.
pub(super) type Modules = BTreeMap<Vec<String>, (String, String)>;

/// Groups of files that refer to each other, however far around.
pub(super) fn circles(modules: &Modules) -> Vec<Vec<String>> {
    let references = |(module, (_, source)): (&'_ Vec<String>, &(String, String))| {
        (module.clone(), references(module, source, modules))
    };
    let edges: BTreeMap<_, _> = modules.iter().map(references).collect();
    let reached: BTreeMap<_, _> = modules.keys().map(|from| (from, reach(from, &edges))).collect();
    let mut groups = BTreeSet::new();
    for (module, others) in &reached {
        let comes_back = |other: &&Vec<String>| reached[other].contains(*module);
        let group: Vec<_> =
            others.iter().filter(comes_back).map(|o| modules[o].0.clone()).collect();
        groups.extend((group.len() > 1).then_some(group));
    }
    groups.into_iter().collect()
}

type Edges = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

fn reach(from: &[String], edges: &Edges) -> BTreeSet<Vec<String>> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_vec()]);
    while let Some(module) = open.pop() {
        let next = edges[&module].iter().filter(|next| !seen.contains(*next)).cloned();
        open.extend(next.collect::<Vec<_>>());
        seen.extend(open.iter().cloned());
    }
    seen
}

/// The module that a file holds, by its path below `src`; none for a root.
pub(super) fn module_of(path: &Path) -> Option<Vec<String>> {
    let path = path.with_extension("");
    let mut parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    let is_root = parts.len() == 1 && ["lib", "main"].contains(&parts[0].as_str());
    (!is_root).then_some(parts)
}

/// Modules that a module's source names, as `crate::a::b`, `super::a`, or by using its own children.
fn references(module: &[String], source: &str, modules: &Modules) -> BTreeSet<Vec<String>> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let parent = &module[..module.len().saturating_sub(1)];
    let mut found = BTreeSet::new();
    for line in source.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        for (base, word) in [(&[][..], "crate::"), (parent, "super::")] {
            for (place, _) in line.match_indices(word) {
                let (before, path) = (&line[..place], &line[place + word.len()..]);
                // What lies two modules up is above both.
                let is_path =
                    path.starts_with(|first: char| first.is_alphanumeric() || first == '{');
                if is_path && !before.ends_with("super::") && !path.starts_with("super::") {
                    found.extend(named(base, path, modules));
                }
            }
        }
        if let Some((_, used)) =
            line.split_once("use ").filter(|(before, _)| !before.contains("//"))
        {
            let child = named(module, used, modules).filter(|child| child.len() > module.len());
            found.extend(child);
        }
    }
    found.remove(module);
    found
}

/// The deepest module that a path from another one names.
fn named(base: &[String], path: &str, modules: &Modules) -> Option<Vec<String>> {
    let is_name = |name: &&str| {
        let fits =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        !name.is_empty() && name.chars().all(fits)
    };
    let names = path.split(&[':', ';', ',', ' ', '(', ')', '{']).filter(|name| !name.is_empty());
    let names = names.take_while(is_name).map(str::to_owned);
    let mut path: Vec<String> = base.iter().cloned().chain(names).collect();
    while !path.is_empty() && !modules.contains_key(&path) {
        path.pop();
    }
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(sources: [(&str, &str); 3]) -> Modules {
        let module = |(name, source): (&str, &str)| {
            (vec![name.to_owned()], (format!("{name}.rs"), source.to_owned()))
        };
        sources.into_iter().map(module).collect()
    }

    #[test]
    fn circles_are_found() {
        let (a, b) = ("use crate::b::Thing;\n", "use crate::c::x;\n");
        let tested = "// use crate::a::x\n#[cfg(test)]\nmod tests { use crate::a; }";
        assert!(circles(&modules([("a", a), ("b", b), ("c", tested)])).is_empty());
        let back = "fn f() { super::a::f() }";
        let found = circles(&modules([("a", a), ("b", b), ("c", back)]));
        assert_eq!(found, [["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn files_are_modules() {
        let module = |path: &str| module_of(Path::new(path)).map(|parts| parts.join("::"));
        assert_eq!(module("lib.rs"), None);
        assert_eq!(module("a/mod.rs").as_deref(), Some("a"));
        assert_eq!(module("a/b.rs").as_deref(), Some("a::b"));
    }
}
