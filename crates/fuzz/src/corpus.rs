//! The small real inputs that mutations begin from: `corpus/NAME/`, one file each.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// The inputs of one target, in the order of their names.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Names and bytes.
    pub entries: Vec<(String, Vec<u8>)>,
}

impl Corpus {
    /// Where the committed inputs lie.
    pub fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
    }

    /// Reads the inputs of a target below `folder`.
    ///
    /// # Errors
    /// A folder that cannot be read, or that holds nothing.
    pub fn read(folder: &Path, target: &str) -> Result<Self> {
        let folder = folder.join(target);
        let read = || -> std::io::Result<Vec<(String, Vec<u8>)>> {
            let mut entries = Vec::new();
            for file in fs::read_dir(&folder)? {
                let file = file?;
                let name = file.file_name().to_string_lossy().into_owned();
                entries.push((name, fs::read(file.path())?));
            }
            entries.sort();
            Ok(entries)
        };
        let entries = read().with_context(|| format!("cannot read {}", folder.display()))?;
        let hint = "write its seeds with `cargo run -p twinge-fuzz -- seeds`";
        ensure!(!entries.is_empty(), "{} holds no input: {hint}", folder.display());
        Ok(Self { entries })
    }
}
