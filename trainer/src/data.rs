//! Files of training data and modules, as the verbs open them.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twinge_contract::schema::Schema;
use twinge_engine::{Engine, Limits, Module};
use twinge_fit::read::{Format, RowReader, format_of};
use twinge_lake::{is_parquet, parquet_to_ndjson};
use twinge_registry::file::read_verified;

/// Data and its format.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    /// What was made of the file, where it is neither CSV nor NDJSON.
    made: Option<Arc<[u8]>>,
}

impl DataFile {
    /// Looks at a file; Parquet is read whole.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let mut start = Vec::new();
        let file = File::open(path).with_context(cannot)?;
        file.take(4096).read_to_end(&mut start).with_context(cannot)?;
        if is_parquet(&start) {
            let bytes = std::fs::read(path).with_context(cannot)?;
            let lines = parquet_to_ndjson(&path.display().to_string(), bytes)?;
            return Ok(Self::of_lines(path, lines));
        }
        let format = format_of(&path.to_string_lossy(), &start);
        Ok(Self { path: path.to_owned(), format, made: None })
    }

    /// NDJSON that was made of something; `name` says of what.
    pub(crate) fn of_lines(name: &Path, lines: Vec<u8>) -> Self {
        Self { path: name.to_owned(), format: Format::Ndjson, made: Some(lines.into()) }
    }

    /// The data from its beginning.
    pub(crate) fn reader(&self) -> Result<Box<dyn Read>> {
        if let Some(lines) = &self.made {
            return Ok(Box::new(Cursor::new(Arc::clone(lines))));
        }
        let file = File::open(&self.path);
        Ok(Box::new(file.with_context(|| format!("cannot read {}", self.path.display()))?))
    }

    /// Its rows by a schema.
    pub(crate) fn rows(&self, schema: &Schema) -> Result<RowReader<Box<dyn Read>>> {
        RowReader::new(self.reader()?, self.format, schema).with_context(|| self.name())
    }

    /// Its name, to say where an error is.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Which modules a verb runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Trust {
    /// Root of trust, or the trusted keys [default: your developer key, made by the first
    /// `trainer train`].
    #[arg(long, env = "TWINGE_TRUST")]
    pub(crate) trust: Option<PathBuf>,
    /// Run a module without a signature.
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
}

/// Reads, verifies and loads a module file.
pub(crate) fn load_module(path: &Path, trust: &Trust) -> Result<Module> {
    let keyring = if trust.allow_unsigned {
        None
    } else {
        Some(crate::keys::keyring(trust.trust.as_deref())?)
    };
    let verified = read_verified(path, keyring.as_ref())?;
    let engine = Engine::new(Limits::default())?;
    engine.load(&verified).with_context(|| format!("{} is refused", path.display()))
}
