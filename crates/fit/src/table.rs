//! Training data in memory, a column an input.

use crate::read::{ReadError, Row, RowReader};
use std::collections::HashMap;
use std::io::Read;
use twinge_contract::schema::Schema;

/// Rows in arrival order.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Which columns mean what.
    pub schema: Schema,
    /// Entity of each row, numbered by first appearance.
    pub entities: Vec<u32>,
    /// Number of entities.
    pub entity_count: usize,
    /// Event time of each row in milliseconds; zeros without a time field.
    pub times_ms: Vec<f64>,
    /// Numeric columns; NaN is missing.
    pub numeric: Vec<Vec<f64>>,
    /// Categorical columns.
    pub categorical: Vec<CategoryColumn>,
    /// Whether each row is labelled anomalous, when there are labels.
    pub labels: Option<Vec<bool>>,
    /// SHA-256 of the bytes read, lowercase hexadecimal.
    pub digest: String,
    /// Rows that are always among those fitted to, ascending: hard ones that somebody called normal,
    /// of which a random sample would hold too few. A quarter of a sample at most.
    pub kept: Vec<u32>,
    /// What is worth telling of how the rows were chosen and labelled, in sentences.
    pub notes: Vec<String>,
}

/// A table that is being filled, row by row.
#[derive(Debug)]
pub struct Filling {
    table: Table,
    entities: HashMap<String, u32>,
    categories: Vec<HashMap<String, u32>>,
    /// Whether any row had a label; the schema alone only says where one would stand.
    has_labels: bool,
}

/// A column of categories.
#[derive(Clone, Debug, Default)]
pub struct CategoryColumn {
    /// Category of each row; `None` is missing.
    pub rows: Vec<Option<u32>>,
    /// Texts by number, in order of first appearance.
    pub names: Vec<String>,
}

impl CategoryColumn {
    /// Categories with their number among `rows`, most frequent first, equal ones by text.
    pub fn counts(&self, rows: &[u32]) -> Vec<(&str, usize)> {
        let mut counts = vec![0usize; self.names.len()];
        for category in rows.iter().filter_map(|row| self.rows[*row as usize]) {
            counts[category as usize] += 1;
        }
        let mut named: Vec<_> = self
            .names
            .iter()
            .map(String::as_str)
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .collect();
        named.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        named
    }
}

impl Table {
    /// Reads all rows; the first row that cannot be read is an error.
    pub fn read<R: Read>(
        mut reader: RowReader<R>,
        mut rows_read: impl FnMut(u64),
    ) -> Result<Self, ReadError> {
        let mut filling = Filling::new(reader.schema().clone());
        while let Some(row) = reader.next_row()? {
            filling.push(row);
            if filling.table.rows().is_multiple_of(4096) {
                rows_read(filling.table.rows() as u64);
            }
        }
        Ok(filling.table(reader.digest()))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.entities.len()
    }

    /// Writes row `row` as a module's input row.
    pub fn inputs(&self, row: usize, codes: &[Vec<f64>], inputs: &mut [f64]) {
        let (numbers, categories) = inputs.split_at_mut(self.numeric.len());
        for (input, column) in numbers.iter_mut().zip(&self.numeric) {
            *input = column[row];
        }
        for ((input, column), codes) in categories.iter_mut().zip(&self.categorical).zip(codes) {
            *input = column.rows[row].map_or(f64::NAN, |category| codes[category as usize]);
        }
    }
}

impl Filling {
    /// An empty table.
    pub fn new(schema: Schema) -> Self {
        let table = Table {
            numeric: vec![Vec::new(); schema.numeric.len()],
            categorical: vec![CategoryColumn::default(); schema.categorical.len()],
            labels: schema.label.is_some().then(Vec::new),
            schema,
            ..Table::default()
        };
        let categories = vec![HashMap::new(); table.categorical.len()];
        Self { table, entities: HashMap::new(), categories, has_labels: false }
    }

    /// Adds a row, which must be of the table's schema.
    pub fn push(&mut self, row: &Row) {
        let Self { table, entities, categories, has_labels } = self;
        let next = entities.len() as u32;
        table.entities.push(match entities.get(row.entity.as_str()) {
            Some(known) => *known,
            None => *entities.entry(row.entity.clone()).or_insert(next),
        });
        table.times_ms.push(row.time_ms.unwrap_or(0) as f64);
        for (column, value) in table.numeric.iter_mut().zip(&row.numeric) {
            column.push(*value);
        }
        for ((column, known), text) in
            table.categorical.iter_mut().zip(categories).zip(&row.categorical)
        {
            column.push(known, text);
        }
        if let Some(labels) = &mut table.labels {
            labels.push(row.anomalous.unwrap_or(false));
        }
        *has_labels |= row.anomalous.is_some();
    }

    /// The table; `digest` is that of the data as it was read.
    pub fn table(mut self, digest: String) -> Table {
        self.table.entity_count = self.entities.len();
        if !self.has_labels {
            self.table.labels = None;
        }
        self.table.digest = digest;
        self.table
    }
}

impl CategoryColumn {
    fn push(&mut self, known: &mut HashMap<String, u32>, text: &str) {
        if text.is_empty() {
            return self.rows.push(None);
        }
        let number = known.get(text).copied().unwrap_or_else(|| {
            let number = self.names.len() as u32;
            self.names.push(text.to_owned());
            known.insert(text.to_owned(), number);
            number
        });
        self.rows.push(Some(number));
    }
}
