//! The seams to the machine: a [`Clock`] and a [`Disk`] that a simulator can take over.
//!
//! Programs take `Arc<dyn Clock>` and `Arc<dyn Disk>`, get [`SystemClock`] and [`RealDisk`] in
//! `main`, and [`ManualClock`] and [`SimulatedDisk`] in tests. This crate does not know what is
//! kept on the disk, and it knows nothing of networks, threads or async.
//!
//! ```
//! use std::path::Path;
//! use twinge_platform::{Disk, SimulatedDisk};
//!
//! let disk = SimulatedDisk::new(7);
//! let mut file = disk.open_append(Path::new("/spool/log"))?;
//! file.append(b"kept")?;
//! file.sync()?;
//! file.append(b"perhaps lost")?;
//! disk.crash();
//! assert!(disk.read(Path::new("/spool/log"))?.starts_with(b"kept"));
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod clock;
mod disk;
mod real;
mod settle;
mod simulated;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, DiskLock};
pub use real::RealDisk;
pub use settle::settle;
pub use simulated::SimulatedDisk;
