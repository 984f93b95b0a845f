//! Register maps and the polling of devices that speak Modbus TCP.
//!
//! A [`Poller`] reads one device by its map at a steady rhythm and hands over a [`Reading`] for each
//! round: a row of JSON with a time, an entity and a field for each register.
//!
//! ```toml
//! [[modbus]]
//! address = "10.0.0.5:502"         # 502 when no port is said
//! unit = 3
//! every_ms = 1000
//! entity = "press-{unit}"          # or a plain name; {host}, {port} and {unit} are known
//! word_order = "little"            # of values that take two or four words
//!
//! [[modbus.register]]
//! name = "pressure_kpa"
//! kind = "holding"
//! address = 100                    # of the protocol, from 0
//! type = "u16"
//! scale = 0.1                      # value = raw * scale + offset
//! missing = 65535                  # the device has no reading
//!
//! [[modbus.register]]
//! name = "running"
//! reference = 10012                # as manuals number them: discrete input 11
//! ```
//! gives `{"time":"2026-01-01T00:00:00.000Z","entity":"press-3","pressure_kpa":101.3,"running":true}`.
//!
//! Registers that lie close together are read in one request. What a device does not answer is
//! `null` beside what it does; a round without any answer gives no row. Whatever a device sends or
//! fails to send is counted in its [`Status`] and told once in a while.
//!
//! The protocol is that of *MODBUS Application Protocol Specification V1.1b3* and *MODBUS Messaging
//! on TCP/IP Implementation Guide V1.0b*, spoken by `tokio-modbus`. This crate only reads. It knows
//! registers and rows; it does not know who keeps the rows or what is found in them.
#![forbid(unsafe_code)]

mod device;
mod grouping;
mod link;
mod poller;
mod register;
mod rhythm;
mod row;
mod settings;
mod status;

pub use poller::{Now, Poller, Reading};
pub use settings::{
    Kind, Number, Order, Reference, RegisterSettings, Settings, SettingsError, Type,
};
pub use status::{Figures, Status, Watch};
