//! A part: one detector of a model, what it looks at, and how its raw score counts.
//!
//! Raw scores of different detectors have nothing in common. Each part's curve turns them into a
//! surprise, the square root of `-ln p`, and [`Fusion`] makes one raw score of these.

use crate::cells::Cells;
use crate::components::Components;
use crate::curve::Curve;
use crate::extended::ExtendedForest;
use crate::forest::{self, Forest};
use crate::histogram::Histogram;
use crate::mahalanobis::Mahalanobis;
use crate::mixture::Mixture;
use crate::neighbours::Neighbours;
use crate::sections::{ModelError, Sections, Tag, all_finite, ensure};
use crate::steps::sqrt;
use crate::tails::Tails;
use crate::view::{VIEWS_MAX, View, WIDTH_MAX};

/// Most parts that a model may have.
pub const PARTS_MAX: usize = 8;

/// One detector of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part<'a> {
    /// The detector.
    pub detector: Kind<'a>,
    /// The view it looks through; not used by those that look at features as they are.
    pub view: u32,
    /// From its raw score to a surprise.
    pub curve: Curve<'a>,
}

/// Detectors by kind.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is documented in its own file")]
pub enum Kind<'a> {
    Forest(Forest<'a>),
    Extended(ExtendedForest<'a>),
    Neighbours(Neighbours<'a>),
    Cells(Cells<'a>),
    Mixture(Mixture<'a>),
    Mahalanobis(Mahalanobis<'a>),
    Components(Components<'a>),
    Histogram(Histogram<'a>),
    Tails(Tails<'a>),
    Norm(Norm<'a>),
}

/// Features that are surprises already, as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Norm<'a> {
    /// 1 for the weighted sum, 2 for the root of the weighted sum of squares, 0 for the largest.
    pub order: u32,
    /// A weight for each feature, not negative.
    pub weights: &'a [f64],
}

impl<'a> Norm<'a> {
    /// The norm of a feature row.
    pub fn of(&self, features: &[f32]) -> f64 {
        let (mut sum, mut squares, mut largest) = (0.0, 0.0, 0.0);
        for (weight, value) in self.weights.iter().zip(features) {
            let value = f64::from(*value);
            let weighted = weight * value;
            sum += weighted;
            squares += weighted * value;
            if weighted > largest {
                largest = weighted;
            }
        }
        match self.order {
            1 => sum,
            2 => sqrt(squares),
            _ => largest,
        }
    }

    fn parse(sections: &Sections<'a>, features: usize) -> Result<Self, ModelError> {
        let [order, weights] = [0, 1].map(|field| Tag::PART.field(field));
        let norm = Self { order: *sections.one(order)?, weights: sections.array(weights)? };
        ensure(norm.order <= 2, order)?;
        ensure(norm.weights.len() == features && all_finite(norm.weights), weights)?;
        ensure(norm.weights.iter().all(|weight| *weight >= 0.0), weights)?;
        Ok(norm)
    }
}

/// How surprises become one raw score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fusion<'a> {
    /// 1 when the largest weighted surprise counts, 0 for their sum.
    pub takes_largest: u32,
    /// A weight for each part.
    pub weights: &'a [f64],
}

impl Fusion<'_> {
    /// Adds part number `part`'s surprise to the raw score so far.
    pub fn add(&self, part: usize, raw: f64, surprise: f64) -> f64 {
        let weighted = self.weights[part] * surprise;
        if self.takes_largest == 0 {
            raw + weighted
        } else if part == 0 || weighted > raw {
            weighted
        } else {
            raw
        }
    }
}

impl<'a> Kind<'a> {
    /// Whether it looks through a view.
    pub fn looks_through_view(&self) -> bool {
        !matches!(self, Self::Forest(_) | Self::Tails(_) | Self::Norm(_))
    }

    /// The raw score of one row, of which `seen` is what the part's view shows.
    pub fn raw_score(&self, features: &[f32], seen: &[f32]) -> f64 {
        match self {
            Self::Forest(forest) => forest.raw_score(features),
            Self::Extended(forest) => forest.raw_score(seen),
            Self::Neighbours(neighbours) => neighbours.distance(seen),
            Self::Cells(cells) => cells.distance(seen),
            Self::Mixture(mixture) => mixture.surprise(seen),
            Self::Mahalanobis(mahalanobis) => mahalanobis.distance(seen),
            Self::Components(components) => components.residual(seen),
            Self::Histogram(histogram) => histogram.rarity(seen),
            Self::Tails(tails) => tails.surprise(features),
            Self::Norm(norm) => norm.of(features),
        }
    }

    fn code(&self) -> u32 {
        match self {
            Self::Forest(_) => 0,
            Self::Extended(_) => 1,
            Self::Neighbours(_) => 2,
            Self::Mixture(_) => 3,
            Self::Mahalanobis(_) => 4,
            Self::Components(_) => 5,
            Self::Histogram(_) => 6,
            Self::Tails(_) => 7,
            Self::Norm(_) => 8,
            Self::Cells(_) => 9,
        }
    }

    fn parse(
        code: u32,
        sections: &Sections<'a>,
        features: usize,
        seen: usize,
    ) -> Result<Self, ModelError> {
        Ok(match code {
            0 => Self::Forest(Forest::parse(sections, features)?),
            1 => Self::Extended(ExtendedForest::parse(sections, seen)?),
            2 => Self::Neighbours(Neighbours::parse(sections, seen)?),
            3 => Self::Mixture(Mixture::parse(sections, seen)?),
            4 => Self::Mahalanobis(Mahalanobis::parse(sections, seen)?),
            5 => Self::Components(Components::parse(sections, seen)?),
            6 => Self::Histogram(Histogram::parse(sections, seen)?),
            7 => Self::Tails(Tails::parse(sections, features)?),
            8 => Self::Norm(Norm::parse(sections, features)?),
            9 => Self::Cells(Cells::parse(sections, seen)?),
            _ => return Err(ModelError::Value(Tag::PARTS.number())),
        })
    }

    #[cfg(feature = "encode")]
    fn write(&self, writer: &mut crate::sections::Writer) {
        match self {
            Self::Forest(forest) => forest.write(writer),
            Self::Extended(forest) => forest.write(writer),
            Self::Neighbours(neighbours) => neighbours.write(writer),
            Self::Mixture(mixture) => mixture.write(writer),
            Self::Mahalanobis(mahalanobis) => mahalanobis.write(writer),
            Self::Components(components) => components.write(writer),
            Self::Histogram(histogram) => histogram.write(writer),
            Self::Tails(tails) => tails.write(writer),
            Self::Cells(cells) => cells.write(writer),
            Self::Norm(norm) => {
                writer.section(Tag::PART.field(0), &[norm.order]);
                writer.section(Tag::PART.field(1), norm.weights);
            }
        }
    }
}

/// All parts of a model with their views.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts<'a> {
    /// Views, in order.
    pub views: [Option<View<'a>>; VIEWS_MAX],
    /// Parts, in order.
    pub parts: [Option<Part<'a>>; PARTS_MAX],
    /// How they are put together.
    pub fusion: Fusion<'a>,
}

impl<'a> Parts<'a> {
    /// The fused raw scores of feature rows, `width` values apart; the first `features` count.
    pub fn raw_scores(&self, rows: &[f32], width: usize, features: usize, raw: &mut [f64]) {
        raw.fill(0.0);
        let mut scores = [0.0; forest::BLOCK_ROWS];
        let scores = &mut scores[..raw.len()];
        for (index, part) in self.parts.iter().flatten().enumerate() {
            if let Kind::Forest(forest) = &part.detector {
                forest::raw_scores(forest, rows, width, scores);
            } else {
                let mut seen = [0.0; WIDTH_MAX];
                for (score, row) in scores.iter_mut().zip(rows.chunks_exact(width)) {
                    let row = &row[..features];
                    let seen = match &self.views[part.view as usize] {
                        Some(view) if part.detector.looks_through_view() => {
                            view.see(row, &mut seen)
                        }
                        _ => &[],
                    };
                    *score = part.detector.raw_score(row, seen);
                }
            }
            part.curve.at_all(scores);
            for (raw, surprise) in raw.iter_mut().zip(&*scores) {
                *raw = self.fusion.add(index, *raw, *surprise);
            }
        }
    }

    pub(crate) fn parse(sections: &Sections<'a>, features: usize) -> Result<Self, ModelError> {
        let mut all = Self::default();
        let views: u32 = *sections.one(Tag::VIEWS)?;
        ensure(views as usize <= VIEWS_MAX, Tag::VIEWS)?;
        for (index, view) in all.views.iter_mut().enumerate().take(views as usize) {
            *view = Some(View::parse(&sections.of(index), features)?);
        }
        let kinds: &[[u32; 2]] = sections.array(Tag::PARTS)?;
        ensure((1..=PARTS_MAX).contains(&kinds.len()), Tag::PARTS)?;
        for (index, ([code, view], part)) in kinds.iter().zip(&mut all.parts).enumerate() {
            let sections = sections.of(index);
            let seen =
                all.views.get(*view as usize).ok_or(ModelError::Value(Tag::PARTS.number()))?;
            let seen = seen.map_or(0, |view| view.features.len());
            let detector = Kind::parse(*code, &sections, features, seen)?;
            ensure(!detector.looks_through_view() || seen > 0, Tag::PARTS)?;
            let curve = Curve::parse(&sections, Tag::CURVE, Tag::CURVE.field(1))?;
            *part = Some(Part { detector, view: *view, curve });
        }
        let fusion = Fusion {
            takes_largest: *sections.one(Tag::FUSION)?,
            weights: sections.array(Tag::WEIGHTS)?,
        };
        ensure(fusion.takes_largest <= 1, Tag::FUSION)?;
        ensure(fusion.weights.len() == kinds.len() && all_finite(fusion.weights), Tag::WEIGHTS)?;
        // A negative weight would make a surprising row a usual one.
        ensure(fusion.weights.iter().all(|weight| *weight >= 0.0), Tag::WEIGHTS)?;
        all.fusion = fusion;
        Ok(all)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::VIEWS, &[self.views.iter().flatten().count() as u32]);
        let kinds = self.parts.iter().flatten().map(|part| [part.detector.code(), part.view]);
        let kinds: alloc::vec::Vec<[u32; 2]> = kinds.collect();
        writer.section(Tag::PARTS, &kinds);
        writer.section(Tag::FUSION, &[self.fusion.takes_largest]);
        writer.section(Tag::WEIGHTS, self.fusion.weights);
        for (index, view) in self.views.iter().flatten().enumerate() {
            writer.instance = index as u32;
            view.write(writer);
        }
        for (index, part) in self.parts.iter().flatten().enumerate() {
            writer.instance = index as u32;
            writer.section(Tag::CURVE, part.curve.raw);
            writer.section(Tag::CURVE.field(1), part.curve.value);
            part.detector.write(writer);
        }
        writer.instance = 0;
    }
}
