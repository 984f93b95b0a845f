//! Which devices belong to a share of the fleet: a stable hash of name and salt, so that every
//! device knows by itself, cohorts of growing shares contain each other, and nobody is canary for
//! ever.

use sha2::{Digest as _, Sha256};

use crate::Stage;

/// Salts that are tried for one in which no cohort is larger than its share.
const SALTS_MAX: u32 = 256;

/// The place of a device among all, from 0 to 9,999: it is in the cohort of every share above.
pub fn position(salt: &str, device: &str) -> u16 {
    let mut hash = Sha256::new();
    hash.update((salt.len() as u64).to_le_bytes());
    hash.update(salt);
    hash.update(device);
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    (u64::from_le_bytes(first) % 10_000) as u16
}

/// A salt for a new rollout, the first after `seed` in which no stage's cohort holds more of the
/// known devices than its share; the one that comes nearest, if none does.
///
/// Chance alone would give a canary of one per cent twice the devices now and then.
pub fn choose_salt(seed: &str, stages: &[Stage], devices: &[String]) -> String {
    let excess = |salt: &str| {
        let mut positions: Vec<u16> = devices.iter().map(|device| position(salt, device)).collect();
        positions.sort_unstable();
        let over = |stage: &Stage| {
            let held = positions.partition_point(|position| *position < stage.act.hundredths());
            held.saturating_sub(stage.act.of(positions.len()))
        };
        stages.iter().map(over).sum::<usize>()
    };
    let salts = (0..SALTS_MAX).map(|number| format!("{seed}-{number}"));
    let mut best: Option<(usize, String)> = None;
    for salt in salts {
        let excess = excess(&salt);
        if best.as_ref().is_none_or(|(least, _)| excess < *least) {
            best = Some((excess, salt));
        }
        if excess == 0 {
            break;
        }
    }
    best.map(|(_, salt)| salt).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    #[test]
    fn positions_never_change() {
        // Pinned: devices in the field compute them with the versions they have.
        assert_eq!(position("a-0", "pump-7"), position("a-0", "pump-7"));
        let pinned = ["pump-1", "pump-2", "gateway-0001"].map(|name| position("salt-0", name));
        assert_eq!(pinned, [8296, 3884, 3671]);
    }

    #[test]
    fn cohorts_hold_at_most_their_share() {
        for count in [1, 7, 200, 5_000] {
            let names: Vec<String> = (0..count).map(|number| format!("device-{number}")).collect();
            let stages = Policy::default().stages;
            let salt = choose_salt("digest", &stages, &names);
            for stage in stages {
                let held = names
                    .iter()
                    .filter(|name| position(&salt, name) < stage.act.hundredths())
                    .count();
                assert!(held <= stage.act.of(count), "{count} {stage:?} {held}");
            }
        }
    }
}
