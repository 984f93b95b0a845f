//! What goes wrong: power, programs, disks, clocks, links, and whoever serves forged documents. Each
//! world draws how much of each it gets.

use crate::machine::Machine;
use crate::random::Random;
use crate::trace::tell;

/// How often each trouble begins, in a second of one machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    power: f64,
    kill: f64,
    operation: f64,
    full: f64,
    read_only: f64,
    clock: f64,
    cut: f64,
    slow: f64,
    forgery: f64,
}

/// What goes wrong with one machine, and until when.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    disk_until: Option<u64>,
    link_until: Option<u64>,
    forgery_until: Option<u64>,
    pub(crate) cuts: u64,
    pub(crate) disk_faults: u64,
    pub(crate) clock_jumps: u64,
}

impl Rates {
    /// One world in eight has no trouble of a kind at all, and some have much.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut rate = |usual: f64| match random.within(0..8) {
            0 => 0.0,
            1 => usual * 4.0,
            _ => usual,
        };
        Self {
            power: rate(0.08),
            kill: rate(0.05),
            operation: rate(0.1),
            full: rate(0.05),
            read_only: rate(0.02),
            clock: rate(0.05),
            cut: rate(0.06),
            slow: rate(0.06),
            forgery: rate(0.04),
        }
    }
}

impl Trouble {
    /// Troubles that begin within `ms`, and the end of those whose time is over. Answers with
    /// whether the program is killed.
    pub(crate) fn strike(
        &mut self,
        machine: &Machine,
        rates: &Rates,
        (now, ms): (u64, u64),
        forged: impl FnOnce() -> Option<Vec<u8>>,
        random: &mut Random,
    ) -> bool {
        self.end(machine, now);
        let begins = |rate: f64, random: &mut Random| random.chance(rate * ms as f64 / 1000.0);
        let told = |what: &str| tell(now, || format!("{}: {what}", machine.name));
        if machine.is_on() && begins(rates.power, random) {
            machine.disk.cut_power_after(random.within(0..40));
        }
        if begins(rates.operation, random) {
            machine.disk.fail_after(random.within(0..30));
            self.disk_faults += 1;
            told("an operation of the disk will fail");
        }
        if self.disk_until.is_none() && begins(rates.full, random) {
            machine.disk.set_capacity(machine.disk.used_bytes() + random.within(0..3_000));
            self.disk_until = Some(now + random.within(500..6_000));
            self.disk_faults += 1;
            told("the disk is full");
        }
        if self.disk_until.is_none() && begins(rates.read_only, random) {
            machine.disk.set_read_only(true);
            self.disk_until = Some(now + random.within(500..4_000));
            self.disk_faults += 1;
            told("the disk is read-only");
        }
        if begins(rates.clock, random) {
            let longest = if random.chance(0.2) { 7_200_000 } else { 30_000 };
            let by_ms = random.within(0..2 * longest).cast_signed() - longest.cast_signed();
            machine.clock.jump(by_ms);
            self.clock_jumps += 1;
            tell(now, || format!("{}: the clock jumps by {by_ms} ms", machine.name));
        }
        if self.link_until.is_none() && begins(rates.cut, random) {
            machine.link.set_cut(true);
            self.link_until = Some(now + random.within(500..9_000));
            self.cuts += 1;
            told("the link is cut");
        }
        if self.link_until.is_none() && begins(rates.slow, random) {
            let loss = random.within(0..40) as f64 / 100.0;
            machine.link.set_quality(loss, random.within(20..3_000));
            self.link_until = Some(now + random.within(500..9_000));
            told("the link is bad");
        }
        if self.forgery_until.is_none()
            && begins(rates.forgery, random)
            && let Some(forged) = forged()
        {
            machine.link.set_forged(Some(forged));
            self.forgery_until = Some(now + random.within(1_000..6_000));
            told("forged documents are served");
        }
        machine.is_on() && begins(rates.kill, random)
    }

    fn end(&mut self, machine: &Machine, now: u64) {
        if self.disk_until.take_if(|until| *until <= now).is_some() {
            machine.disk.set_capacity(u64::MAX);
            machine.disk.set_read_only(false);
        }
        if self.link_until.take_if(|until| *until <= now).is_some() {
            machine.link.set_cut(false);
            machine.link.set_quality(0.01, 40);
        }
        if self.forgery_until.take_if(|until| *until <= now).is_some() {
            machine.link.set_forged(None);
        }
    }
}
