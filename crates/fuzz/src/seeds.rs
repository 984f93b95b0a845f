//! Writes the corpora anew: small real inputs, made by the code that writes such things. They are kept
//! as files, so that old formats stay among them and finds can be put beside them.

mod documents;
mod lines;
mod packets;
mod storage;

use anyhow::{Context as _, Result};
use std::path::Path;

/// An input: its target, its name, its bytes.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

/// Writes all seeds below `folder`, over those of the same name.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write(folder: &Path) -> Result<usize> {
    let mut seeds = lines::seeds();
    seeds.extend(documents::seeds());
    seeds.extend(storage::seeds());
    seeds.extend(packets::seeds());
    for (target, name, bytes) in &seeds {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(seeds.len())
}
