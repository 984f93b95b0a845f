//! How often something may be done: by all together, and by each device. Pure: time is passed in.

use std::collections::BTreeMap;

/// Most devices that are remembered apart.
const DEVICES_MAX: usize = 65_536;

/// A bucket of tokens that fills again, each being one go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    size: f64,
    per_second: f64,
    tokens: f64,
    at_ms: u64,
}

/// A bucket for each device. Only names that were verified get one, so nobody can use up a
/// device's share in its name, or fill the memory with names.
#[derive(Debug)]
pub(super) struct Buckets {
    new: Bucket,
    devices: BTreeMap<String, Bucket>,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(size: u32, per_second: f64) -> Self {
        let size = f64::from(size);
        Self { size, per_second, tokens: size, at_ms: 0 }
    }

    /// Whether there is a token left, which is then gone.
    pub(super) fn take(&mut self, now_ms: u64) -> bool {
        self.fill(now_ms);
        let is_left = self.tokens >= 1.0;
        if is_left {
            self.tokens -= 1.0;
        }
        is_left
    }

    fn fill(&mut self, now_ms: u64) {
        let seconds = now_ms.saturating_sub(self.at_ms) as f64 / 1000.0;
        self.tokens = self.size.min(self.tokens + seconds * self.per_second);
        self.at_ms = now_ms;
    }

    fn is_full(&self) -> bool {
        self.tokens >= self.size
    }
}

impl Buckets {
    /// With a bucket like `new` for each.
    pub(super) fn new(new: Bucket) -> Self {
        Self { new, devices: BTreeMap::new() }
    }

    /// Whether a device has a token left, which is then gone.
    pub(super) fn take(&mut self, device: &str, now_ms: u64) -> bool {
        if let Some(bucket) = self.devices.get_mut(device) {
            return bucket.take(now_ms);
        }
        if self.devices.len() >= DEVICES_MAX {
            // A full bucket says no more than none.
            self.devices.retain(|_, bucket| {
                bucket.fill(now_ms);
                !bucket.is_full()
            });
        }
        if self.devices.len() >= DEVICES_MAX {
            return false;
        }
        let mut bucket = Bucket { at_ms: now_ms, ..self.new };
        let is_left = bucket.take(now_ms);
        self.devices.insert(device.to_owned(), bucket);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let mut bucket = Bucket::new(3, 0.5);
        assert_eq!([0, 0, 0, 0].map(|now_ms| bucket.take(now_ms)), [true, true, true, false]);
        assert!(!bucket.take(1999));
        assert!(bucket.take(2000));
        assert!(!bucket.take(2001));
        assert_eq!([60_000; 4].map(|now_ms| bucket.take(now_ms)), [true, true, true, false]);
    }

    #[test]
    fn each_device_has_its_own_and_memory_is_bounded() {
        let mut buckets = Buckets::new(Bucket::new(1, 1.0));
        assert!(buckets.take("a", 0) && !buckets.take("a", 0) && buckets.take("b", 0));
        for number in 2..DEVICES_MAX {
            assert!(buckets.take(&number.to_string(), 0));
        }
        assert!(!buckets.take("one too many", 0));
        assert!(buckets.take("one too many", 1000));
        assert_eq!(buckets.devices.len(), 1);
    }
}
