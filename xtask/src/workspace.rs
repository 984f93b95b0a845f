//! The workspace as cargo knows it: its packages, and what each asks for.

use crate::run::{cargo, output};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its folder, from the root.
    pub(crate) folder: String,
    /// Folders of the workspace's packages that it is built with; those of its tests left out.
    pub(crate) ours: BTreeSet<String>,
    /// Names of packages of others that it asks for, its tests and build script included.
    pub(crate) others: BTreeSet<String>,
}

/// All packages of the workspace in a folder.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut metadata = cargo(["metadata", "--format-version", "1", "--no-deps"]);
    let told: Value = serde_json::from_str(&output(metadata.current_dir(root))?)
        .context("cargo metadata printed no JSON")?;
    let list = told["packages"].as_array().context("cargo metadata tells no packages")?;
    list.iter().map(|package| Package::new(package, root)).collect()
}

impl Package {
    fn new(told: &Value, root: &Path) -> Result<Self> {
        let manifest = told["manifest_path"].as_str().context("a package without a manifest")?;
        let mut package = Self {
            folder: folder(Path::new(manifest).parent().unwrap_or(root), root)?,
            ours: BTreeSet::new(),
            others: BTreeSet::new(),
        };
        for dependency in told["dependencies"].as_array().into_iter().flatten() {
            match dependency["path"].as_str() {
                Some(path) if dependency["kind"] != "dev" => {
                    package.ours.insert(folder(Path::new(path), root)?);
                }
                Some(_) => {}
                None => {
                    let name =
                        dependency["name"].as_str().context("a dependency without a name")?;
                    package.others.insert(name.to_owned());
                }
            }
        }
        Ok(package)
    }
}

fn folder(path: &Path, root: &Path) -> Result<String> {
    let inside = path.strip_prefix(root);
    let inside = inside.with_context(|| format!("{} is outside the workspace", path.display()))?;
    Ok(inside.to_string_lossy().into_owned())
}
