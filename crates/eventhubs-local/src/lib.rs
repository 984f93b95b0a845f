//! A broker for one machine that speaks what Azure Event Hubs speaks.
#![forbid(unsafe_code)]
