//! Register maps and the polling of devices that speak Modbus TCP.
#![forbid(unsafe_code)]
