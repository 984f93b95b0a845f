//! Rust source as data: items by name, doc comments, and what serde's attributes say.
//!
//! It finds an item as a reader would, by the file's own and its `use` lines. It does not know what
//! is looked for.

use crate::run::root;
use anyhow::{Context, Result, bail};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Item, Lit, Meta, Token, UseTree};

/// Source files of the workspace, each read once.
#[derive(Default)]
pub(super) struct Sources {
    files: RefCell<BTreeMap<PathBuf, Rc<syn::File>>>,
}

/// An item and the file, relative to the workspace, that it stands in.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) file: PathBuf,
    pub(super) item: Item,
}

impl Sources {
    /// A file of the workspace.
    pub(super) fn file(&self, path: &Path) -> Result<Rc<syn::File>> {
        if let Some(file) = self.files.borrow().get(path) {
            return Ok(Rc::clone(file));
        }
        let text = fs::read_to_string(root().join(path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let file = syn::parse_file(&text).with_context(|| format!("in {}", path.display()))?;
        let file = Rc::new(file);
        self.files.borrow_mut().insert(path.to_owned(), Rc::clone(&file));
        Ok(file)
    }

    /// The type that `path`, as written in `file`, means.
    pub(super) fn resolve(&self, file: &Path, path: &syn::Path) -> Result<Found> {
        let name = path.segments.last().context("an empty path")?.ident.to_string();
        let first = path.segments.first().context("an empty path")?.ident.to_string();
        if path.segments.len() == 1 {
            if let Some(item) = type_named(&self.file(file)?.items, &name) {
                return Ok(Found { file: file.to_owned(), item });
            }
            let (krate, original) = imported(&self.file(file)?.items, &name)
                .with_context(|| format!("{} does not import {name}", file.display()))?;
            return self.find_in_crate(&crate_folder(file, &krate)?, &original);
        }
        self.find_in_crate(&crate_folder(file, &first)?, &name)
    }

    /// The one type of a name in a crate's source.
    fn find_in_crate(&self, folder: &Path, name: &str) -> Result<Found> {
        let mut found = Vec::new();
        for file in rust_files(folder)? {
            if let Some(item) = type_named(&self.file(&file)?.items, name) {
                found.push(Found { file, item });
            }
        }
        match found.len() {
            1 => Ok(found.swap_remove(0)),
            count => bail!("{} has {count} types called {name}", folder.display()),
        }
    }

    /// A function of a file.
    pub(super) fn function(&self, file: &Path, name: &str) -> Result<syn::ItemFn> {
        let items = &self.file(file)?.items;
        let found = items.iter().find_map(|item| match item {
            Item::Fn(function) if function.sig.ident == name => Some(function.clone()),
            _ => None,
        });
        found.with_context(|| format!("{} has no function {name}", file.display()))
    }

    /// The value of a constant of a file.
    pub(super) fn constant(&self, file: &Path, name: &str) -> Result<Expr> {
        let items = &self.file(file)?.items;
        let found = items.iter().find_map(|item| match item {
            Item::Const(constant) if constant.ident == name => Some((*constant.expr).clone()),
            _ => None,
        });
        found.with_context(|| format!("{} has no constant {name}", file.display()))
    }
}

/// The Rust files below a folder of the workspace, in order.
pub(super) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let absolute = root().join(folder);
    let entries =
        fs::read_dir(&absolute).with_context(|| format!("cannot list {}", absolute.display()))?;
    for entry in entries {
        let name = entry?.file_name();
        let path = folder.join(&name);
        if root().join(&path).is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The folder of a crate's source, by its name in a path of `file`.
fn crate_folder(file: &Path, name: &str) -> Result<PathBuf> {
    if let Some(other) = name.strip_prefix("twinge_") {
        return Ok(Path::new("crates").join(other.replace('_', "-")).join("src"));
    }
    if !["crate", "self", "super"].contains(&name) {
        bail!("{} takes a type from the crate {name}, which is not ours", file.display());
    }
    let mut folder = file;
    while let Some(parent) = folder.parent() {
        if parent.ends_with("src") {
            return Ok(parent.to_owned());
        }
        folder = parent;
    }
    bail!("{} lies in no folder `src`", file.display())
}

fn type_named(items: &[Item], name: &str) -> Option<Item> {
    let found = items.iter().find(|item| match item {
        Item::Struct(item) => item.ident == name,
        Item::Enum(item) => item.ident == name,
        _ => false,
    });
    found.cloned()
}

/// The crate that a name is imported from, and what it is called there.
fn imported(items: &[Item], name: &str) -> Option<(String, String)> {
    items.iter().find_map(|item| match item {
        Item::Use(item) => leaf(&item.tree, name).and_then(|original| match &item.tree {
            UseTree::Path(path) => Some((path.ident.to_string(), original)),
            _ => None,
        }),
        _ => None,
    })
}

fn leaf(tree: &UseTree, name: &str) -> Option<String> {
    match tree {
        UseTree::Path(path) => leaf(&path.tree, name),
        UseTree::Name(found) if found.ident == name => Some(name.to_owned()),
        UseTree::Rename(found) if found.rename == name => Some(found.ident.to_string()),
        UseTree::Group(group) => group.items.iter().find_map(|tree| leaf(tree, name)),
        _ => None,
    }
}

/// What doc comments say, as one text.
pub(super) fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let lines = lines.filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) => text(&pair.value),
        _ => None,
    });
    lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// What serde's attributes say: each word with its value, empty where it has none.
pub(super) fn serde(attributes: &[Attribute]) -> Result<BTreeMap<String, String>> {
    let mut told = BTreeMap::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let words = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
        for word in words {
            let value = match &word {
                Meta::NameValue(pair) => text(&pair.value).unwrap_or_default(),
                _ => String::new(),
            };
            let name = word.path().get_ident().map(ToString::to_string);
            told.insert(name.unwrap_or_default(), value);
        }
    }
    Ok(told)
}

/// Whether a type derives a trait.
pub(super) fn derives(attributes: &[Attribute], name: &str) -> bool {
    let derives = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let lists = derives.filter_map(|attribute| {
        let paths = Punctuated::<syn::Path, Token![,]>::parse_terminated;
        attribute.parse_args_with(paths).ok()
    });
    let mut paths = lists.flatten();
    paths.any(|path| path.segments.last().is_some_and(|segment| segment.ident == name))
}

/// A text in quotes.
pub(super) fn text(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}
