//! MQTT 3.1.1 and 5 as a sender and a receiver that acknowledges by hand.
#![forbid(unsafe_code)]
