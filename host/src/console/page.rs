//! The built page, read into memory when the host starts: no request can name another file.

use anyhow::{Context, bail, ensure};
use axum::body::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// All files together, in bytes: several times what the page has.
const BYTES_MAX: u64 = 64 << 20;

/// Put into the document so that the page knows who serves it.
const MARK: &str = "<meta name=\"twinge-console\" content=\"1\" />";

/// A file and its type.
#[derive(Debug)]
pub(super) struct File {
    pub(super) kind: &'static str,
    pub(super) bytes: Bytes,
}

/// The page's files by their paths, without a slash in front.
#[derive(Debug)]
pub(super) struct Page(BTreeMap<String, File>);

impl Page {
    /// Reads a folder whole.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        let mut left = BYTES_MAX;
        read_into(&mut files, folder, "", &mut left)?;
        let index = files.get_mut("index.html").context("it has no index.html")?;
        let text = str::from_utf8(&index.bytes).context("index.html is not UTF-8")?;
        ensure!(text.contains("</head>"), "index.html has no head");
        index.bytes = text.replacen("</head>", &format!("{MARK}</head>"), 1).into();
        Ok(Self(files))
    }

    /// The file that a path means; a folder means its index.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        let path = path.trim_start_matches('/');
        self.0.get(if path.is_empty() { "index.html" } else { path })
    }
}

fn read_into(
    files: &mut BTreeMap<String, File>,
    folder: &Path,
    prefix: &str,
    left: &mut u64,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let path = format!("{prefix}{}", name.to_str().context("a file's name is not UTF-8")?);
        if kind.is_dir() {
            read_into(files, &entry.path(), &format!("{path}/"), left)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).with_context(|| format!("reading {path}"))?;
            let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                bail!("it has more than {} MiB, which is no page of ours", BYTES_MAX >> 20);
            };
            *left = rest;
            files.insert(path.clone(), File { kind: kind_of(&path), bytes: bytes.into() });
        }
    }
    Ok(())
}

fn kind_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "ndjson" => "application/x-ndjson",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_becomes_paths_and_only_these() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Page::read(folder.path()).unwrap_err().to_string().contains("no index.html"));
        fs::write(folder.path().join("index.html"), "<head></head>").unwrap();
        fs::create_dir(folder.path().join("assets")).unwrap();
        fs::write(folder.path().join("assets/a.wasm"), [0]).unwrap();
        let page = Page::read(folder.path()).unwrap();
        let index = page.file("/").unwrap();
        assert_eq!(index.kind, "text/html; charset=utf-8");
        assert!(String::from_utf8_lossy(&index.bytes).contains("twinge-console"));
        assert_eq!(page.file("/assets/a.wasm").unwrap().kind, "application/wasm");
        for path in ["/../Cargo.toml", "/assets", "/assets/../index.html", "/etc/passwd"] {
            assert!(page.file(path).is_none(), "{path}");
        }
    }
}
