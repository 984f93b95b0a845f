//! Which requests read a map: as few as the protocol allows, and finer ones where a device refuses.
//! Knows places and counts; sends nothing.

use crate::settings::Kind;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// How long finer requests are kept to. A device that was starting, or got another program since,
/// may take the coarser ones by then.
const REFINED_FOR: Duration = Duration::from_hours(1);

/// Items of one table in a row. The last one's address is a valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) kind: Kind,
    pub(crate) start: u16,
    /// At least 1.
    pub(crate) count: u16,
}

/// A request, and whose values its answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) span: Span,
    /// Numbers of the registers inside, whole.
    pub(crate) members: Vec<usize>,
}

/// The requests of a round.
#[derive(Debug)]
pub(crate) struct Plan {
    spans: Vec<Span>,
    coarse: Vec<Read>,
    reads: Vec<Read>,
    /// When the first of them was split.
    refined: Option<Instant>,
}

impl Span {
    /// Address behind the last item.
    fn end(self) -> u32 {
        u32::from(self.start) + u32::from(self.count)
    }

    /// Where `inner` lies in the items of this one.
    pub(crate) fn range_of(self, inner: Self) -> std::ops::Range<usize> {
        let start = usize::from(inner.start - self.start);
        start..start + usize::from(inner.count)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Coil => "coil",
            Kind::Discrete => "discrete input",
            Kind::Holding => "holding register",
            Kind::Input => "input register",
        };
        match self.count {
            1 => write!(formatter, "{name} {}", self.start),
            _ => write!(formatter, "{name}s {} to {}", self.start, self.end() - 1),
        }
    }
}

/// Puts `members` of `spans` into requests. Between two registers of a request lie at most `gap`
/// items that nobody asked for, and no register is in two halves.
///
/// In order of address each request takes in all it can, which makes them as few as can be.
fn group(spans: &[Span], members: &[usize], gap: u16) -> Vec<Read> {
    let mut members = members.to_vec();
    members.sort_by_key(|member| (spans[*member], *member));
    let mut reads: Vec<Read> = Vec::new();
    for member in members {
        let span = spans[member];
        match reads.last_mut().and_then(|read| Some((joined(read.span, span, gap)?, read))) {
            Some((joined, read)) => {
                read.span = joined;
                read.members.push(member);
            }
            None => reads.push(Read { span, members: vec![member] }),
        }
    }
    reads
}

/// One span over both, if a request may have it. `next` begins no earlier than `span`.
fn joined(span: Span, next: Span, gap: u16) -> Option<Span> {
    let end = span.end().max(next.end());
    let count = u16::try_from(end - u32::from(span.start)).ok()?;
    let is_near = u32::from(next.start) <= span.end() + u32::from(gap);
    let fits = count <= span.kind.count_max();
    (span.kind == next.kind && is_near && fits).then_some(Span { count, ..span })
}

/// One request for each place, however close they are.
fn singles(spans: &[Span], members: &[usize]) -> Vec<Read> {
    let mut reads: Vec<Read> = Vec::new();
    for member in members {
        let span = spans[*member];
        match reads.iter_mut().find(|read| read.span == span) {
            Some(read) => read.members.push(*member),
            None => reads.push(Read { span, members: vec![*member] }),
        }
    }
    reads
}

impl Plan {
    pub(crate) fn new(spans: Vec<Span>, gap: u16) -> Self {
        let members: Vec<usize> = (0..spans.len()).collect();
        let coarse = group(&spans, &members, gap);
        Self { spans, reads: coarse.clone(), coarse, refined: None }
    }

    /// Goes back to the coarse requests when it is time to try them again.
    pub(crate) fn begin_round(&mut self, now: Instant) {
        if self.refined.is_some_and(|since| now.duration_since(since) >= REFINED_FOR) {
            self.reads.clone_from(&self.coarse);
            self.refined = None;
        }
    }

    /// The request with that number in this round.
    pub(crate) fn read(&self, index: usize) -> Option<&Read> {
        self.reads.get(index)
    }

    /// Puts finer requests in place of one that was refused, first without gaps and then a register
    /// at a time; false when there is nothing finer.
    pub(crate) fn refine(&mut self, index: usize, now: Instant) -> bool {
        let members = &self.reads[index].members;
        let mut finer = group(&self.spans, members, 0);
        if finer.len() == 1 {
            finer = singles(&self.spans, members);
        }
        if finer.len() == 1 {
            return false;
        }
        self.reads.splice(index..=index, finer);
        self.refined.get_or_insert(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::tests::Random;

    fn holding(start: u16, count: u16) -> Span {
        Span { kind: Kind::Holding, start, count }
    }

    fn spans_of(plan: &Plan) -> Vec<Span> {
        plan.reads.iter().map(|read| read.span).collect()
    }

    #[test]
    fn neighbours_share_a_request_up_to_the_limit() {
        let spans = vec![holding(10, 2), holding(0, 1), holding(1, 4), holding(20, 1)];
        assert_eq!(spans_of(&Plan::new(spans.clone(), 8)), [holding(0, 21)]);
        assert_eq!(spans_of(&Plan::new(spans.clone(), 7)), [holding(0, 12), holding(20, 1)]);
        assert_eq!(spans_of(&Plan::new(spans, 0)), [holding(0, 5), holding(10, 2), holding(20, 1)]);
        let full: Vec<Span> = (0..70).map(|n| holding(n * 2, 2)).collect();
        assert_eq!(spans_of(&Plan::new(full, 0)), [holding(0, 124), holding(124, 16)]);
        let coils: Vec<Span> =
            (0..2001).map(|start| Span { kind: Kind::Coil, start, count: 1 }).collect();
        assert_eq!(Plan::new(coils, 0).reads.len(), 2);
        assert_eq!(spans_of(&Plan::new(vec![holding(65_532, 4)], 8)), [holding(65_532, 4)]);
    }

    #[test]
    fn a_refused_request_becomes_finer_and_later_coarse_again() {
        let spans = vec![holding(0, 1), holding(1, 1), holding(5, 2), holding(5, 2)];
        let mut plan = Plan::new(spans, 8);
        let now = Instant::now();
        assert!(plan.refine(0, now));
        assert_eq!(spans_of(&plan), [holding(0, 2), holding(5, 2)]);
        assert!(plan.refine(0, now));
        assert_eq!(spans_of(&plan), [holding(0, 1), holding(1, 1), holding(5, 2)]);
        assert!(!plan.refine(0, now));
        assert!(!plan.refine(2, now), "two names of one place need one request");
        plan.begin_round(now + REFINED_FOR.saturating_sub(Duration::from_secs(1)));
        assert_eq!(plan.reads.len(), 3);
        plan.begin_round(now + REFINED_FOR);
        assert_eq!(spans_of(&plan), [holding(0, 7)]);
    }

    #[test]
    fn any_map_is_covered_within_the_limits_and_each_request_takes_all_it_can() {
        let mut random = Random::new();
        for _ in 0..500 {
            let (spans, gap) = random_map(&mut random);
            let mut plan = Plan::new(spans.clone(), gap);
            check(&plan, &spans, gap);
            for pair in plan.reads.windows(2) {
                let whole = joined(pair[0].span, spans[pair[1].members[0]], gap);
                assert_eq!(whole, None, "the next register would have fitted");
            }
            while let Some(index) = (0..plan.reads.len()).find(|_| random.below(3) > 0) {
                if !plan.refine(index, Instant::now()) {
                    break;
                }
                check(&plan, &spans, gap);
            }
        }
    }

    fn random_map(random: &mut Random) -> (Vec<Span>, u16) {
        let reach = [20, 300, 65_500][random.below(3) as usize];
        let kinds = [Kind::Coil, Kind::Discrete, Kind::Holding, Kind::Input];
        let mut span = || {
            let kind = kinds[random.below(4) as usize];
            let count = if kind.is_bits() { 1 } else { [1, 2, 4][random.below(3) as usize] };
            Span { kind, start: random.below(reach) as u16, count }
        };
        let spans = (0..80).map(|_| span()).collect();
        (spans, random.below(20) as u16)
    }

    /// Every register is inside exactly one request, whole, and none asks for too much.
    fn check(plan: &Plan, spans: &[Span], gap: u16) {
        let mut seen = vec![0; spans.len()];
        for read in &plan.reads {
            assert!(read.span.count <= read.span.kind.count_max());
            assert!(read.span.end() <= 65_536);
            let mut wanted = vec![false; read.span.count.into()];
            for member in &read.members {
                seen[*member] += 1;
                assert_eq!(spans[*member].kind, read.span.kind);
                wanted[read.span.range_of(spans[*member])].fill(true);
            }
            let longest = wanted.split(|wanted| *wanted).map(<[bool]>::len).max().unwrap();
            assert!(longest <= gap.into(), "{longest} items in a row that nobody wants");
            assert!(wanted[0] && wanted[wanted.len() - 1]);
        }
        assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
    }
}
