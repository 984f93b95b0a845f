//! Who should own which partition: a plan, from what everybody can see. It decides and does nothing.
//!
//! Every host plans for itself, from the same list. Partitions that nobody owns are taken at once, up
//! to a fair share; one that others have too many of is taken over, one a round, so that a fleet comes
//! to rest.

use std::collections::BTreeMap;

/// A partition as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The partition.
    pub(super) partition: String,
    /// Who owns it; nobody when it was given up or not renewed in time.
    pub(super) owner: Option<String>,
}

/// The partitions that `me` should claim now. `turn` is any number: hosts that start together with
/// different ones do not all reach for the same partition.
pub(super) fn claims(seen: &[Seen], me: &str, turn: usize) -> Vec<String> {
    let mut owned: BTreeMap<&str, usize> = BTreeMap::from([(me, 0)]);
    for owner in seen.iter().filter_map(|seen| seen.owner.as_deref()) {
        *owned.entry(owner).or_default() += 1;
    }
    let mine = owned[me];
    let share = seen.len() / owned.len();
    let has_rest = !seen.len().is_multiple_of(owned.len());
    let most = share + usize::from(has_rest);
    let mut free: Vec<&str> = seen
        .iter()
        .filter(|seen| seen.owner.is_none())
        .map(|seen| seen.partition.as_str())
        .collect();
    if !free.is_empty() {
        let start = turn % free.len();
        free.rotate_left(start);
        let wanted = most.saturating_sub(mine);
        return free.into_iter().take(wanted).map(str::to_owned).collect();
    }
    // Somebody has too many if it has more than the largest share, or more than the smallest while
    // this host has not even that.
    let too_many = if mine < share { share } else { most };
    if mine >= most {
        return Vec::new();
    }
    let richest =
        owned.iter().filter(|(_, count)| **count > too_many).max_by_key(|(_, count)| **count);
    let Some((richest, _)) = richest else { return Vec::new() };
    let theirs: Vec<&str> = seen
        .iter()
        .filter(|seen| seen.owner.as_deref() == Some(richest))
        .map(|seen| seen.partition.as_str())
        .collect();
    vec![theirs[turn % theirs.len()].to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(owners: &[Option<&str>]) -> Vec<Seen> {
        let owners = owners.iter().enumerate();
        owners
            .map(|(number, owner)| Seen {
                partition: number.to_string(),
                owner: owner.map(str::to_owned),
            })
            .collect()
    }

    #[test]
    fn a_host_alone_takes_everything_and_leaves_what_is_fair() {
        assert_eq!(claims(&seen(&[None, None, None]), "a", 0), ["0", "1", "2"]);
        assert_eq!(claims(&seen(&[Some("b"), Some("b"), None]), "a", 5), ["2"]);
        assert_eq!(claims(&seen(&[Some("b"), Some("a")]), "a", 0), Vec::<String>::new());
        assert_eq!(claims(&seen(&[Some("b"), Some("b")]), "a", 0).len(), 1);
        assert_eq!(
            claims(&seen(&[Some("b")]), "a", 0),
            Vec::<String>::new(),
            "more hosts than partitions"
        );
    }

    /// Any number of hosts comes to rest within as many rounds as there are partitions, with shares
    /// that differ by one at most, whatever the start; then nothing moves.
    #[test]
    fn any_fleet_comes_to_rest_at_fair_shares() {
        for hosts in 1..=9 {
            for partitions in 1..=32 {
                let mut state = seen(&vec![Some("h0"); partitions]);
                for round in 0..2 * partitions {
                    for host in 0..hosts {
                        let me = format!("h{host}");
                        for claim in claims(&state, &me, round * 7 + host) {
                            let place: usize = claim.parse().unwrap();
                            state[place].owner = Some(me.clone());
                        }
                    }
                }
                let mut counts = vec![0usize; hosts];
                for seen in &state {
                    counts[seen.owner.as_ref().unwrap()[1..].parse::<usize>().unwrap()] += 1;
                }
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 1, "{hosts} hosts, {partitions} partitions: {counts:?}");
                for host in 0..hosts {
                    assert!(claims(&state, &format!("h{host}"), 3).is_empty(), "{counts:?} moves");
                }
            }
        }
    }
}
