//! The forest that all measure: scikit-learn's, as a module of ours too.

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use twinge_contract::schema::Schema;
use twinge_detector::forest::{self, Block, Forest, LEAF_UNITS};
use twinge_detector::model::Model;
use twinge_detector::part::Kind;
use twinge_fit::config::{DetectorKind, DetectorSettings, Kinds};
use twinge_fit::link::{RUNTIME, link};
use twinge_fit::read::{Format, RowReader};
use twinge_fit::train::as_bytes;
use twinge_fit::{Config, Table, train};

/// A tree: nodes with the root first.
pub(super) struct Tree {
    pub(super) feature: Vec<i64>,
    pub(super) threshold: Vec<f32>,
    pub(super) left: Vec<i64>,
    pub(super) right: Vec<i64>,
    /// Length of the path that ends at a leaf.
    pub(super) path: Vec<f64>,
}

/// What `peers.py` wrote of scikit-learn's forest.
pub(super) struct SharedForest {
    pub(super) trees: Vec<Tree>,
    pub(super) features: usize,
    pub(super) depth: u32,
    pub(super) norm: f64,
}

impl SharedForest {
    pub(super) fn read(place: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(place.join("forest.json")).context("there is no forest.json")?;
        let told: Value = serde_json::from_str(&text)?;
        let number = |value: &Value| value.as_u64().context("a number is missing in forest.json");
        let trees = told["forest"].as_array().context("forest.json has no trees")?;
        Ok(Self {
            trees: trees.iter().map(Tree::read).collect::<Result<_>>()?,
            features: number(&told["features"])? as usize,
            depth: number(&told["depth"])? as u32,
            norm: f64::from_bits(number(&told["norm"])?),
        })
    }

    /// A module whose only detector is this forest, on inputs as they are. Without `alarms` no row raises one:
    /// an alarm is explained, which takes as long as a score for each field, and nobody else does that.
    pub(super) fn module(&self, queries: &Queries, alarms: bool) -> Result<Vec<u8>> {
        let names: Vec<String> = (0..self.features).map(|field| format!("x{field}")).collect();
        let schema = Schema { numeric: names.clone(), ..Schema::default() };
        let detector = DetectorSettings {
            kind: Kinds::Given(vec![DetectorKind::IsolationForest]),
            trees: self.trees.len() as u32,
            clean: Some(true),
            ..DetectorSettings::default()
        };
        let config = Config { name: "bench".into(), schema, detector, ..Config::default() };
        let config = config.check()?;
        let mut csv = names.join(",");
        for row in 0..4096 {
            let values: Vec<String> = queries.row(row).iter().map(f32::to_string).collect();
            write!(csv, "\n{}", values.join(","))?;
        }
        let rows = RowReader::new(csv.as_bytes(), Format::Csv, &config.written.schema)?;
        let table = Table::read(rows, |_| {})?;
        let trained = train(&table, &config, 1, &mut |_| true)?;
        self.put_into(&trained.model, &trained.manifest.to_json(), alarms)
    }

    /// The trees as a module keeps them.
    pub(super) fn blocks(&self) -> Result<Vec<Block>> {
        let mut blocks = vec![Block::EMPTY; self.trees.len() * forest::blocks(self.depth)];
        let trees = blocks.chunks_exact_mut(forest::blocks(self.depth));
        for (tree, blocks) in self.trees.iter().zip(trees) {
            Places { depth: self.depth, blocks }.put(tree, 0, 0, 0)?;
        }
        Ok(blocks)
    }

    /// A trained model with this forest in place of its own.
    fn put_into(&self, words: &[u64], manifest: &[u8], alarms: bool) -> Result<Vec<u8>> {
        let mut model = Model::parse(as_bytes(words)).map_err(|error| anyhow!("{error}"))?;
        let blocks = self.blocks()?;
        let forest = Forest {
            trees: self.trees.len() as u32,
            depth: self.depth,
            norm: 1.0 / (self.norm * LEAF_UNITS),
            blocks: &blocks,
        };
        if !alarms {
            model.calibration.threshold = f64::MAX;
        }
        let numbers = vec![[0.0, 1.0]; self.features];
        model.pipeline.numbers = &numbers;
        let plain: Vec<[f64; 3]> = model
            .pipeline
            .feature_parameters
            .iter()
            .map(|[first, ..]| [*first, 0.0, 1.0])
            .collect();
        model.pipeline.feature_parameters = &plain;
        ensure!(model.parts.parts[1..].iter().all(Option::is_none), "the model has several parts");
        let part = model.parts.parts[0].as_mut().context("the model has no part")?;
        part.detector = Kind::Forest(forest);
        Ok(link(RUNTIME, as_bytes(&model.encode()), manifest)?)
    }
}

/// Where a tree's nodes go in the model.
struct Places<'a> {
    depth: u32,
    blocks: &'a mut [Block],
}

impl Places<'_> {
    /// Puts a node, which is number `index` of its level, and all below it.
    fn put(&mut self, tree: &Tree, node: usize, level: u32, index: usize) -> Result<()> {
        if tree.left[node] < 0 {
            let below = 1 << (self.depth - level);
            let units = (tree.path[node] * LEAF_UNITS).round() as u16;
            for leaf in index * below..(index + 1) * below {
                forest::put_leaf(self.blocks, self.depth, leaf, units);
            }
            return Ok(());
        }
        ensure!(level < self.depth, "the forest is deeper than it says");
        let (block, place) = forest::place(self.depth, level, index);
        let key = forest::key(tree.threshold[node]);
        self.blocks[block].put_split(place, key, tree.feature[node] as u8);
        self.put(tree, tree.left[node] as usize, level + 1, 2 * index)?;
        self.put(tree, tree.right[node] as usize, level + 1, 2 * index + 1)
    }
}

impl Tree {
    fn read(told: &Value) -> Result<Self> {
        let list =
            |name: &str| told[name].as_array().with_context(|| format!("a tree has no {name}"));
        let whole = |name: &str| -> Result<Vec<i64>> {
            list(name)?.iter().map(|value| value.as_i64().context("no whole number")).collect()
        };
        let bits = |name: &str| -> Result<Vec<u64>> {
            list(name)?.iter().map(|value| value.as_u64().context("no bits")).collect()
        };
        Ok(Self {
            feature: whole("feature")?,
            threshold: bits("threshold")?
                .into_iter()
                .map(|bits| f32::from_bits(bits as u32))
                .collect(),
            left: whole("left")?,
            right: whole("right")?,
            path: bits("path")?.into_iter().map(f64::from_bits).collect(),
        })
    }
}

/// Rows to score.
pub(super) struct Queries {
    features: usize,
    values: Vec<f32>,
    wide: Vec<f64>,
}

impl Queries {
    /// Rows that there are.
    pub(super) const ROWS: usize = 65_536;

    pub(super) fn read(place: &Path, features: usize) -> Result<Self> {
        let bytes = fs::read(place.join("queries.bin")).context("there is no queries.bin")?;
        ensure!(bytes.len() == Self::ROWS * features * 4, "queries.bin has another size");
        let (chunks, _) = bytes.as_chunks::<4>();
        let values: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        let wide = values.iter().map(|value| f64::from(*value)).collect();
        Ok(Self { features, values, wide })
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.features..][..self.features]
    }

    /// The same, as a module takes it.
    pub(super) fn wide(&self, row: usize) -> &[f64] {
        &self.wide[row * self.features..][..self.features]
    }
}
