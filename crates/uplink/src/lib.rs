//! Ways to a cloud: Event Hubs over HTTPS, IoT Hub, MQTT and HTTP, and the draining of a spool into one of them.
#![forbid(unsafe_code)]
