//! Azure Event Hubs through its SDK.
#![forbid(unsafe_code)]
