//! What a broker may be told, in numbers that settings and errors both name.

/// The most partitions a hub may have: as in the dedicated tier of Event Hubs.
pub(crate) const PARTITIONS_MAX: u16 = 1_024;
/// The least a partition may keep, in bytes: a few segments of a few of the largest messages.
pub(crate) const RETENTION_BYTES_MIN: u64 = 32 << 20;
