//! Figures and times as people read them.

use twinge_registry::{Channel, Target};
use twinge_rollout::Stage;

/// A whole number with its thousands apart.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing.
pub(crate) fn many(number: usize, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A span of time, in the largest unit of which there are two.
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A module of a channel, in full.
pub(crate) fn target(target: Option<&Target>) -> String {
    target.map_or_else(
        || "none".into(),
        |target| format!("{} (version {})", target.digest, target.version),
    )
}

/// A stage's place among all, and how far it reaches: `canary (2 of 4), acts on 1 % and on ring
/// canary`.
pub(crate) fn stage(channel: &Channel) -> String {
    let Some(rollout) = &channel.rollout else { return "shadow everywhere".into() };
    let Some(stage) = rollout.stage(&channel.policy) else { return "no stage".into() };
    let stages = channel.policy.stages.len();
    let number = (usize::from(rollout.stage) + 1).min(stages);
    format!("stage {} ({number} of {stages}), {}", stage.name, reach(stage))
}

fn reach(stage: &Stage) -> String {
    if !stage.acts() {
        return format!("in shadow on {}, acts nowhere", stage.shadow);
    }
    let rings = match &stage.rings[..] {
        [] => String::new(),
        [ring] => format!(" and on ring {ring}"),
        rings => format!(" and on rings {}", rings.join(", ")),
    };
    format!("acts on {} of the devices{rings}", stage.act)
}
