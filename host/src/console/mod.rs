//! The console: the page, served by the host, with what the host is doing.
//!
//! It has a door of its own (`--console ADDRESS`), so that the door for events can be open to
//! others without the console being so. It is read-only unless a token is set. It knows nothing of
//! hubs: whatever else the host brings along goes through it unchanged.

mod feed;
mod page;
mod routes;
mod view;

use anyhow::{Context, ensure};
use clap::Args;
use feed::{Feed, FeedOutlet};
use page::Page;
use routes::{Door, router};
use serde::Deserialize;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use twinge_stream::assembly::{Extension, ExtensionError, Surroundings};
use twinge_stream::outlet::Outlet;
use twinge_stream::settings::{Settings, address};
use twinge_stream::sink::SinkError;

/// Shortest token: one that is guessed is none.
const TOKEN_BYTES_MIN: usize = 16;

/// Flags of the console.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Console")]
pub(crate) struct ConsoleFlags {
    /// Address that the console is served at; port 0 takes a free one. It has no TLS: put a proxy
    /// before it when others than this machine are to see it.
    #[arg(long, env = "TWINGE_CONSOLE", value_parser = address)]
    console: Option<SocketAddr>,
    /// Folder of the built page [default: www/dist].
    #[arg(long, env = "TWINGE_CONSOLE_PAGE")]
    page: Option<PathBuf>,
    /// File with a token. Whoever has it may send events through the console; without it, the
    /// console is read-only.
    #[arg(long, env = "TWINGE_CONSOLE_TOKEN_FILE")]
    console_token_file: Option<PathBuf>,
}

/// The console: the page with live verdicts and what runs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    listen: Option<SocketAddr>,
    page: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

impl ConsoleFlags {
    /// The console that flags and file describe, around what else the host brings along.
    pub(crate) fn extend(
        &self,
        settings: &mut Settings,
        inner: Option<Arc<dyn Extension>>,
    ) -> anyhow::Result<Option<Arc<dyn Extension>>> {
        let table: Table = settings.take("console")?.unwrap_or_default();
        let Some(address) = self.console.or(table.listen) else { return Ok(inner) };
        let folder = self.page.clone().or(table.page).unwrap_or_else(|| "www/dist".into());
        let page = Page::read(&folder).with_context(|| {
            format!(
                "the page in {} cannot be used: build it with `cargo xtask page build`, or name its folder with --page",
                folder.display()
            )
        })?;
        let token_file = self.console_token_file.clone().or(table.token_file);
        let token = token_file.map(|path| {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let token = text.trim().to_owned();
            ensure!(
                token.len() >= TOKEN_BYTES_MIN,
                "the token in {} has fewer than {TOKEN_BYTES_MIN} characters: write a longer one, as `openssl rand -hex 16` prints",
                path.display()
            );
            Ok(token)
        });
        Ok(Some(Arc::new(Console {
            inner: inner.unwrap_or_else(|| Arc::new(Nothing)),
            address,
            listener: Mutex::default(),
            page: Arc::new(page),
            token: token.transpose()?.map(Arc::from),
            feed: Feed::default(),
        })))
    }
}

/// A host that brings nothing else along.
#[derive(Debug)]
struct Nothing;

impl Extension for Nothing {}

/// The console around what else the host brings along.
#[derive(Debug)]
struct Console {
    inner: Arc<dyn Extension>,
    address: SocketAddr,
    /// Taken by the server when everything is ready.
    listener: Mutex<Option<TcpListener>>,
    page: Arc<Page>,
    token: Option<Arc<str>>,
    feed: Feed,
}

impl Console {
    /// An address that is taken is told before anything runs.
    fn bind(&self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address)?;
        listener.set_nonblocking(true)?;
        tracing::info!(address = %listener.local_addr()?, "serving the console");
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
        Ok(())
    }
}

#[async_trait::async_trait]
impl Extension for Console {
    fn inner(&self) -> Option<&dyn Extension> {
        Some(self.inner.as_ref())
    }

    fn prepare(&self) -> Result<(), ExtensionError> {
        self.bind().map_err(|error| {
            format!(
                "the console cannot be served at {}: choose a free port with --console: {error}",
                self.address
            )
        })?;
        self.inner.prepare()
    }

    fn outlets(&self, detector: &str) -> Result<Vec<Box<dyn Outlet>>, SinkError> {
        let mut outlets = self.inner.outlets(detector)?;
        outlets.push(Box::new(FeedOutlet::new(self.feed.clone(), detector)));
        Ok(outlets)
    }

    fn start(&self, surroundings: Surroundings) {
        let taken = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = taken {
            let door = Door {
                page: Arc::clone(&self.page),
                feed: self.feed.clone(),
                token: self.token.clone(),
                intake: surroundings.intake.clone(),
                reports: surroundings.reports.clone(),
                stop: surroundings.stop.clone(),
            };
            surroundings.tracker.spawn(routes::serve(
                listener,
                router(door),
                surroundings.stop.clone(),
            ));
        }
        self.inner.start(surroundings);
    }
}
