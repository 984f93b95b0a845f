//! The reference of a module, from the rows that it was trained on.
//!
//! Rows of a stream are not independent: what an entity sends now is like what it sent before. So
//! beside distributions the reference keeps by how much blocks of training rows lay around the whole,
//! at several sizes, and a live window is compared with that and not with dice.

use crate::baseline::ANOMALOUS;
use crate::packed::{pack, unpack};
use crate::phase::{self, DAY_MS, PHASES};
use twinge_contract::manifest::{ReferenceHistogram, SampleInfo, ScoreReference};

/// Rows of the smallest blocks that are compared, how many times as many each further size has, and
/// the number of sizes.
pub(crate) const BLOCK_ROWS_MIN: f64 = 64.0;
pub(crate) const BLOCK_STEP: f64 = 4.0;
const BLOCK_SIZES: usize = 6;

/// Blocks of a size below which their variation says nothing.
const BLOCKS_MIN: usize = 8;

/// Bins of a number; of many inputs each has fewer, so that the manifest stays small.
const BINS: usize = 16;
const BINS_OF_MANY: usize = 8;
const MANY_INPUTS: usize = 64;
const CATEGORIES: usize = 31;

/// Days that rows must span for phases of the day to be looked for.
const DAYS_MIN: f64 = 2.0;

/// Phases are kept where they take away this share of some input's variation between blocks, which
/// without them is this much more than by chance.
const PHASES_LEAVE: f64 = 0.6;
const PHASES_OF: f64 = 2.0;

/// Variance that a share must have for blocks to be compared by it: of shares from 1 in 200.
const VARIANCE_MIN: f64 = 0.005;

/// A row that the reference is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Its number in the columns.
    pub row: u32,
    /// Its place in the stream: rows next to each other in time are next to each other here.
    pub place: u32,
    /// When it happened, ms since 1970; not finite where there is no time.
    pub time_ms: f64,
    /// The number of its entity.
    pub entity: u32,
}

/// A column of training data.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    /// Numbers, NaN where missing.
    Numbers {
        /// Name of the field.
        field: &'a str,
        /// Value of each row.
        values: &'a [f64],
    },
    /// Categories.
    Categories {
        /// Name of the field.
        field: &'a str,
        /// Number of the category of each row, `None` where missing.
        rows: &'a [Option<u32>],
        /// Texts by number.
        names: &'a [String],
    },
}

/// The reference of some columns over some rows, whatever their order. Without rows it is empty.
pub fn reference(columns: &[Column<'_>], rows: &[Row]) -> (SampleInfo, Vec<ReferenceHistogram>) {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.place);
    let bins = if columns.len() > MANY_INPUTS { BINS_OF_MANY } else { BINS };
    let binned: Vec<Binned> =
        columns.iter().map(|column| Binned::new(column, &rows, bins)).collect();
    let sample = Sample::new(&rows);
    let plain: Vec<Spread> = binned.iter().map(|field| field.spread(&sample, &[])).collect();
    let phased: Option<Vec<Phased>> = sample.spans_days().then(|| {
        let of_field = |field: &Binned| {
            let phases = field.phases(&sample);
            Phased { spread: field.spread(&sample, &phases), phases }
        };
        binned.iter().map(of_field).collect()
    });
    let phased = phased.filter(|phased| {
        plain.iter().zip(phased).any(|(plain, phased)| {
            let (plain, phased) = (plain.values.last(), phased.spread.values.last());
            plain.zip(phased).is_some_and(|(a, b)| *a > PHASES_OF && *b < PHASES_LEAVE * a)
        })
    });
    let phase_rows = if phased.is_some() { sample.phase_rows() } else { Vec::new() };
    let info = SampleInfo {
        rows: rows.len() as u64,
        entities: rounded(sample.entities, 2),
        phase_rows: phase_rows.iter().map(|rows| libm::round(*rows)).collect(),
    };
    let histograms = binned.into_iter().enumerate().map(|(index, field)| {
        let (spread, phases) = match &phased {
            Some(phased) => (&phased[index].spread, pack(&phased[index].phases)),
            None => (&plain[index], String::new()),
        };
        field.histogram(&sample, spread, phases)
    });
    (info, histograms.collect())
}

/// The reference of what a module said of rows that it was not fitted to: `scores` has a score for
/// each of `rows`, at least 1 for an anomaly.
pub fn scores(scores: &[f64], rows: &[Row]) -> ScoreReference {
    let rows: Vec<Row> =
        rows.iter().zip(0..).map(|(row, place)| Row { row: place, ..*row }).collect();
    let verdicts: Vec<Option<u32>> =
        scores.iter().map(|score| Some(u32::from(*score < 1.0))).collect();
    let names = [ANOMALOUS.to_owned(), "normal".to_owned()];
    let columns = [
        Column::Numbers { field: "score", values: scores },
        Column::Categories { field: "verdict", rows: &verdicts, names: &names },
    ];
    let (sample, mut histograms) = reference(&columns, &rows);
    let mut verdicts = histograms.pop().unwrap_or_default();
    let scores = histograms.pop().unwrap_or_default();
    // One category and all others, whichever is more frequent and even if it never occurred.
    let place = verdicts.categories.iter().position(|name| name == ANOMALOUS);
    let rate = place.map_or(0.0, |place| verdicts.shares[place]);
    verdicts.phases = pack_rate(&verdicts, place, sample.phase_rows.len());
    verdicts.categories = vec![ANOMALOUS.to_owned()];
    verdicts.shares = vec![rate, rounded(1.0 - rate - verdicts.missing, 6)];
    if verdicts.spread.is_empty() {
        // Verdicts so rare that blocks cannot be compared are spread as scores are.
        verdicts.spread.clone_from(&scores.spread);
    }
    ScoreReference { sample, scores, verdicts }
}

/// The phases of verdicts with one category and all others.
fn pack_rate(verdicts: &ReferenceHistogram, place: Option<usize>, phases: usize) -> String {
    let bins = verdicts.categories.len() + 2;
    let unpacked = unpack(&verdicts.phases, bins, phases).unwrap_or_default();
    let rates = unpacked.iter().map(|shares| place.map_or(0.0, |place| shares[place]));
    pack(&rates.map(|rate| vec![rate, 1.0 - rate, 0.0]).collect::<Vec<_>>())
}

struct Phased {
    spread: Spread,
    phases: Vec<Vec<f64>>,
}

/// Design effects by block size.
#[derive(Clone, Debug, Default, PartialEq)]
struct Spread {
    values: Vec<f64>,
    missing: Vec<f64>,
}

/// Rows in the order of the stream.
struct Sample<'a> {
    rows: &'a [Row],
    /// Days between the first and the last.
    days: f64,
    entities: f64,
    entity_rows: Vec<f64>,
}

impl<'a> Sample<'a> {
    fn new(rows: &'a [Row]) -> Self {
        let times = || rows.iter().map(|row| row.time_ms);
        let has_time = !rows.is_empty() && times().all(f64::is_finite);
        let (first, last) = (times().fold(f64::MAX, f64::min), times().fold(f64::MIN, f64::max));
        let most = rows.iter().map(|row| row.entity as usize + 1).max().unwrap_or(0);
        let mut entity_rows = vec![0.0; most];
        for row in rows {
            entity_rows[row.entity as usize] += 1.0;
        }
        let squares: f64 = entity_rows.iter().map(|rows| rows * rows).sum();
        let count = rows.len() as f64;
        Self {
            rows,
            days: if has_time { (last - first) / DAY_MS } else { 0.0 },
            entities: if squares > 0.0 { count * count / squares } else { 0.0 },
            entity_rows,
        }
    }

    fn spans_days(&self) -> bool {
        self.days >= DAYS_MIN
    }

    fn phase_rows(&self) -> Vec<f64> {
        let mut rows = vec![0.0; PHASES];
        for row in self.rows {
            for (phase, weight) in phase::around(row.time_ms, PHASES) {
                rows[phase] += weight;
            }
        }
        rows
    }

    /// Blocks of rows that lie within `size` places each, without those that are mostly gaps.
    fn blocks(&self, size: f64) -> Vec<std::ops::Range<usize>> {
        let number = |row: &Row| (f64::from(row.place) / size) as u64;
        let mut blocks = Vec::new();
        let mut start = 0;
        for group in self.rows.chunk_by(|a, b| number(a) == number(b)) {
            blocks.push(start..start + group.len());
            start += group.len();
        }
        let usual = blocks.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        blocks.retain(|block| block.len() * 2 >= usual && block.len() >= BLOCKS_MIN);
        blocks
    }
}

/// A column in bins.
struct Binned {
    field: String,
    bounds: Vec<f64>,
    categories: Vec<String>,
    /// Bin of each row of the sample; one beyond the last where missing.
    places: Vec<u16>,
    /// Shares of bins, and in the last place of missing.
    whole: Vec<f64>,
}

impl Binned {
    fn new(column: &Column<'_>, rows: &[Row], bins: usize) -> Self {
        match column {
            Column::Numbers { field, values } => Self::numbers(field, values, rows, bins),
            Column::Categories { field, rows: column, names } => {
                Self::categories(field, column, names, rows)
            }
        }
    }

    fn numbers(field: &str, values: &[f64], rows: &[Row], bins: usize) -> Self {
        let mut sorted: Vec<f64> = rows
            .iter()
            .map(|row| values[row.row as usize])
            .filter(|value| value.is_finite())
            .collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let bounds = bounds(&sorted, bins);
        let missing = bounds.len() + 1;
        let place = |row: &Row| {
            let value = values[row.row as usize];
            let bin = bounds.partition_point(|bound| *bound < value);
            (if value.is_finite() { bin } else { missing }) as u16
        };
        let places = rows.iter().map(place).collect();
        Self::of_places(field, bounds, Vec::new(), places, missing)
    }

    fn categories(field: &str, column: &[Option<u32>], names: &[String], rows: &[Row]) -> Self {
        let mut counts = vec![0_usize; names.len()];
        for category in rows.iter().filter_map(|row| column[row.row as usize]) {
            counts[category as usize] += 1;
        }
        let mut order: Vec<usize> = (0..names.len()).filter(|name| counts[*name] > 0).collect();
        order.sort_by(|a, b| counts[*b].cmp(&counts[*a]).then(names[*a].cmp(&names[*b])));
        order.truncate(CATEGORIES);
        let mut bin_of = vec![order.len(); names.len()];
        for (bin, name) in order.iter().enumerate() {
            bin_of[*name] = bin;
        }
        let missing = order.len() + 1;
        let place = |row: &Row| {
            column[row.row as usize].map_or(missing, |category| bin_of[category as usize]) as u16
        };
        let places = rows.iter().map(place).collect();
        let categories = order.iter().map(|name| names[*name].clone()).collect();
        Self::of_places(field, Vec::new(), categories, places, missing)
    }

    fn of_places(
        field: &str,
        bounds: Vec<f64>,
        categories: Vec<String>,
        places: Vec<u16>,
        missing: usize,
    ) -> Self {
        let mut whole = vec![0.0; missing + 1];
        for place in &places {
            whole[usize::from(*place)] += 1.0;
        }
        let rows = places.len().max(1) as f64;
        for share in &mut whole {
            *share /= rows;
        }
        if places.is_empty() {
            whole[missing] = 1.0;
        }
        Self { field: field.to_owned(), bounds, categories, places, whole }
    }

    /// Shares at each phase of the day, between which those of any time lie: by least squares, so
    /// that a wave of a day is not flattened.
    fn phases(&self, sample: &Sample<'_>) -> Vec<Vec<f64>> {
        let width = self.whole.len();
        let mut own = [0.0; PHASES];
        let mut shared = [0.0; PHASES];
        let mut sums = vec![vec![0.0; width]; PHASES];
        for (row, place) in sample.rows.iter().zip(&self.places) {
            let [(before, near), (after, far)] = phase::around(row.time_ms, PHASES);
            own[before] += near * near;
            own[after] += far * far;
            shared[before] += near * far;
            sums[before][usize::from(*place)] += near;
            sums[after][usize::from(*place)] += far;
        }
        let mut phases = vec![self.whole.clone(); PHASES];
        for _ in 0..SWEEPS {
            for phase in (0..PHASES).filter(|phase| own[*phase] > 0.0) {
                let (before, after) = ((phase + PHASES - 1) % PHASES, (phase + 1) % PHASES);
                for bin in 0..width {
                    let others =
                        shared[before] * phases[before][bin] + shared[phase] * phases[after][bin];
                    phases[phase][bin] = (sums[phase][bin] - others) / own[phase];
                }
            }
        }
        for shares in &mut phases {
            for share in shares.iter_mut() {
                *share = share.max(0.0);
            }
            let sum: f64 = shares.iter().sum();
            if sum > 0.0 {
                for share in shares.iter_mut() {
                    *share /= sum;
                }
            } else {
                shares.clone_from(&self.whole);
            }
        }
        // As it will be read, rounding and all.
        unpack(&pack(&phases), width, PHASES).unwrap_or(phases)
    }

    /// By how much blocks of the sample vary around the whole, or around what is expected of their
    /// phases.
    fn spread(&self, sample: &Sample<'_>, phases: &[Vec<f64>]) -> Spread {
        let mut spread = Spread::default();
        let mut size = BLOCK_ROWS_MIN;
        for _ in 0..BLOCK_SIZES {
            let blocks = sample.blocks(size);
            if blocks.len() < BLOCKS_MIN {
                break;
            }
            let sums = self.sums(sample, &blocks, size, phases);
            push_rising(&mut spread.values, sums.values);
            if self.whole[self.whole.len() - 1] > 0.0 {
                push_rising(&mut spread.missing, sums.missing);
            }
            size *= BLOCK_STEP;
        }
        spread
    }

    /// Design effects of one size of blocks.
    fn sums(
        &self,
        sample: &Sample<'_>,
        blocks: &[std::ops::Range<usize>],
        size: f64,
        phases: &[Vec<f64>],
    ) -> Effects {
        let width = self.whole.len();
        let mut squares = vec![0.0; width];
        let mut inverse_rows = 0.0;
        for block in blocks {
            let off = self.off(sample, block.clone(), phases);
            for (sum, off) in squares.iter_mut().zip(off) {
                *sum += off * off;
            }
            inverse_rows += 1.0 / block.len() as f64;
        }
        let count = blocks.len() as f64;
        // Blocks are compared with what was made of them, and few of them may vary little by chance.
        let mut factor = count / (count - 1.0) / count;
        if !phases.is_empty() {
            factor *= sample.days / (sample.days - 1.0);
        }
        let guard = 1.0 + 2.0 * libm::sqrt(2.0 / (count - 1.0));
        let by_chance = inverse_rows / count;
        let effect = |bin: usize, share: f64| {
            let variance = share * (1.0 - share);
            let more = squares[bin] * factor / variance - by_chance;
            (variance >= VARIANCE_MIN).then(|| (1.0 + size * more).max(1.0) * guard)
        };
        let cumulative = self.counted();
        let values = cumulative[..width - 1].iter().enumerate();
        let values = values.filter_map(|(bin, share)| effect(bin, *share)).fold(0.0, f64::max);
        Effects { values, missing: effect(width - 1, self.whole[width - 1]).unwrap_or(guard) }
    }

    /// What blocks are compared by: for a number the shares up to each bound, for a category those
    /// of each, and of both in the last place what is missing.
    fn counted(&self) -> Vec<f64> {
        counted(&self.whole, self.categories.is_empty())
    }

    fn off(
        &self,
        sample: &Sample<'_>,
        block: std::ops::Range<usize>,
        phases: &[Vec<f64>],
    ) -> Vec<f64> {
        let rows = block.len() as f64;
        let mut here = vec![0.0; self.whole.len()];
        for place in &self.places[block.clone()] {
            here[usize::from(*place)] += 1.0 / rows;
        }
        let mut there = self.whole.clone();
        if !phases.is_empty() {
            let mut weights = [0.0; PHASES];
            for row in &sample.rows[block] {
                for (phase, weight) in phase::around(row.time_ms, PHASES) {
                    weights[phase] += weight / rows;
                }
            }
            there.fill(0.0);
            for (shares, weight) in phases.iter().zip(weights) {
                for (all, share) in there.iter_mut().zip(shares) {
                    *all += share * weight;
                }
            }
        }
        let is_number = self.categories.is_empty();
        let (here, there) = (counted(&here, is_number), counted(&there, is_number));
        here.iter().zip(&there).map(|(here, there)| here - there).collect()
    }

    /// Variance between entities as a part of the whole.
    fn entity_spread(&self, sample: &Sample<'_>, spread: &[f64]) -> f64 {
        let (width, rows) = (self.whole.len(), sample.rows.len() as f64);
        let entities = sample.entity_rows.len();
        if entities < 2 || rows < 1.0 {
            return 0.0;
        }
        let mut counts = vec![0.0; entities * width];
        for (row, place) in sample.rows.iter().zip(&self.places) {
            counts[row.entity as usize * width + usize::from(*place)] += 1.0;
        }
        let is_number = self.categories.is_empty();
        let wanted = self.counted();
        let mut between = 0.0;
        let seen =
            || counts.chunks(width).zip(&sample.entity_rows).filter(|(_, rows)| **rows > 0.0);
        for (counts, own) in seen() {
            let shares: Vec<f64> = counts.iter().map(|count| count / own).collect();
            for (here, there) in counted(&shares, is_number).iter().zip(&wanted) {
                between += own / rows * (here - there) * (here - there);
            }
        }
        let whole: f64 = wanted.iter().map(|share| share * (1.0 - share)).sum();
        let number = seen().count() as f64;
        // Alike as they may be, entities of a few rows each differ by chance.
        let by_chance = (number - 1.0) * spread.first().copied().unwrap_or(1.0) / rows;
        if whole <= 0.0 { 0.0 } else { (between / whole - by_chance).clamp(0.0, 1.0) }
    }

    fn histogram(self, sample: &Sample<'_>, spread: &Spread, phases: String) -> ReferenceHistogram {
        let entity_spread = rounded(self.entity_spread(sample, &spread.values), 3);
        let shares = self.whole[..self.whole.len() - 1].iter();
        let tenths = |spread: &[f64]| spread.iter().map(|one| rounded(one.max(1.0), 1)).collect();
        ReferenceHistogram {
            field: self.field,
            bounds: self.bounds,
            categories: self.categories,
            shares: shares.map(|share| rounded(*share, 6)).collect(),
            missing: rounded(self.whole[self.whole.len() - 1], 6),
            phases,
            spread: tenths(&spread.values),
            missing_spread: tenths(&spread.missing),
            entity_spread,
        }
    }
}

/// Sweeps over the phases, each of which halves the error at least.
const SWEEPS: usize = 30;

struct Effects {
    values: f64,
    missing: f64,
}

/// A larger block never counts as more independent.
fn push_rising(effects: &mut Vec<f64>, effect: f64) {
    let before = effects.last().copied().unwrap_or(1.0);
    effects.push(effect.max(before));
}

fn counted(shares: &[f64], is_number: bool) -> Vec<f64> {
    let (bins, missing) = shares.split_at(shares.len() - 1);
    let mut sum = 0.0;
    let below = bins.iter().map(|share| {
        sum = if is_number { sum + share } else { *share };
        sum
    });
    below.chain(missing.iter().copied()).collect()
}

/// Bounds between bins of equal shares, with no more digits than it takes to tell them apart.
fn bounds(sorted: &[f64], bins: usize) -> Vec<f64> {
    let mut bounds: Vec<f64> = Vec::new();
    if let Some(last) = sorted.len().checked_sub(1) {
        let at = |bin: usize| sorted[((bin * sorted.len()) / bins).min(last)];
        bounds.extend((1..bins).map(at));
        bounds.dedup();
    }
    let gap = |place: usize| {
        let gap = |a: usize, b: usize| Some(bounds.get(b)? - bounds.get(a)?);
        let before = place.checked_sub(1).and_then(|before| gap(before, place));
        before.into_iter().chain(gap(place, place + 1)).fold(f64::INFINITY, f64::min)
    };
    let gaps: Vec<f64> = (0..bounds.len()).map(gap).collect();
    bounds.iter().zip(gaps).map(|(bound, gap)| shortened(*bound, gap / 100.0)).collect()
}

/// The number with the fewest digits that lies no further away than `error`.
fn shortened(value: f64, error: f64) -> f64 {
    if !error.is_finite() {
        return value;
    }
    let digits = (2..17).filter_map(|digits| format!("{value:.digits$e}").parse::<f64>().ok());
    let mut near = digits.filter(|short| (short - value).abs() <= error);
    near.next().unwrap_or(value)
}

fn rounded(value: f64, places: i32) -> f64 {
    let scale = libm::pow(10.0, f64::from(places));
    libm::round(value * scale) / scale
}
