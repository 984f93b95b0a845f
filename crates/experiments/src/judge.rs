//! Champion and challenger on the same rows, and the gates that a challenger must pass.
//!
//! Figures in, decisions out: no module is run here and no file is read. Where a label says that a
//! verdict was wrong, the label counts and not the champion's opinion: such rows do not enter
//! agreement and verdict rate.

use serde::{Deserialize, Serialize};

/// What a module said of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// The score; at least 1 is anomalous.
    pub score: f64,
    /// Whether it raised an alarm.
    pub alarm: bool,
    /// Whether the verdict counts: not while warming up, and not of an invalid row.
    pub counts: bool,
}

/// What running a module cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Size of the module.
    pub bytes: u64,
    /// Time in the module, in microseconds a row.
    pub row_us: f64,
}

/// A module's figures on the rows of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Rows on which it raised an alarm.
    pub alarms: usize,
    /// Share of the rows on which it did.
    pub verdict_rate: f64,
    /// Of the labelled rows with an alarm, the share that are anomalies.
    pub precision: Option<f64>,
    /// Of the labelled anomalies, the share with an alarm.
    pub recall: Option<f64>,
    /// Labelled normal rows with an alarm.
    pub false_alarms: usize,
    /// Labelled anomalies with an alarm.
    pub hits: usize,
    /// Alarms on rows where no label contradicts the champion.
    pub alarms_undisputed: usize,
    /// Size of the module.
    pub bytes: u64,
    /// Microseconds a row.
    pub row_us: f64,
}

/// Two modules on the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Rows on which all verdicts count.
    pub rows: usize,
    /// Of these, those with a label.
    pub labelled: usize,
    /// Of these, the labelled anomalies.
    pub anomalies: usize,
    /// Rows where no label contradicts the champion.
    pub undisputed: usize,
    /// Of the undisputed rows, the share with the same verdict; nothing without a champion.
    pub agreement: Option<f64>,
    /// Of the undisputed rows on which either raised an alarm, the share on which both did; nothing
    /// without such a row.
    pub overlap: Option<f64>,
    /// The champion, if there is one.
    pub champion: Option<Side>,
    /// The challenger.
    pub challenger: Side,
}

/// What a challenger must reach before it is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// Fewest rows to judge on.
    pub rows_min: usize,
    /// Smallest share of undisputed rows with the same verdict as the champion's.
    pub agreement_min: f64,
    /// How many times as many alarms as the champion it may raise on undisputed rows.
    pub alarms_factor_max: f64,
    /// Of the champion's alarms on undisputed rows, the smallest share in number that it must raise
    /// itself: one that says nothing agrees with nearly everybody.
    pub alarms_share_min: f64,
    /// A difference of so many alarms is never held against it.
    pub alarms_slack: usize,
    /// Largest share of the rows with an alarm, also without a champion.
    pub verdict_rate_max: f64,
    /// Labelled anomalies from which on recall is judged, and labelled alarms of both from which on
    /// precision is.
    pub labels_min: usize,
    /// How much lower than the champion's its recall may be.
    pub recall_loss_max: f64,
    /// How much lower than the champion's its precision may be.
    pub precision_loss_max: f64,
    /// Largest module, in bytes.
    pub bytes_max: u64,
    /// How many times the champion's size it may have.
    pub bytes_factor_max: f64,
    /// Longest time in the module, in microseconds a row.
    pub row_us_max: f64,
    /// How many times the champion's time a row it may take.
    pub row_time_factor_max: f64,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            rows_min: 1000,
            agreement_min: 0.95,
            alarms_factor_max: 3.0,
            alarms_share_min: 0.1,
            alarms_slack: 10,
            verdict_rate_max: 0.05,
            labels_min: 10,
            recall_loss_max: 0.02,
            precision_loss_max: 0.02,
            bytes_max: 4 * 1024 * 1024,
            bytes_factor_max: 2.0,
            row_us_max: 200.0,
            row_time_factor_max: 4.0,
        }
    }
}

/// Gates that cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("key `retrain.gates.{key}`: {value} is out of range: choose {range}")]
pub struct GatesError {
    key: &'static str,
    value: f64,
    range: &'static str,
}

/// How a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passage {
    /// The challenger may go on.
    Passed,
    /// It may not.
    Failed,
    /// There was nothing to judge by.
    NotJudged,
}

/// A gate, what was found and what was needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// How it ended.
    pub passage: Passage,
    /// What was found, in words.
    pub found: String,
    /// What was needed, in words.
    pub needed: String,
}

impl Comparison {
    /// Compares what two modules said of the same rows, in the same order. `labels` says of each row
    /// whether it is an anomaly, as far as somebody knows.
    ///
    /// # Panics
    ///
    /// If the three do not have the same number of rows.
    pub fn new(
        champion: Option<(&[Said], Cost)>,
        challenger: (&[Said], Cost),
        labels: &[Option<bool>],
    ) -> Self {
        let rows = labels.len();
        assert_eq!(challenger.0.len(), rows, "a verdict of the challenger for each row");
        let of_champion = champion.map(|(said, _)| said);
        assert!(of_champion.is_none_or(|said| said.len() == rows), "and one of the champion");
        let counted: Vec<Row> = (0..rows)
            .filter(|row| challenger.0[*row].counts)
            .filter(|row| of_champion.is_none_or(|said| said[*row].counts))
            .map(|row| Row {
                champion: of_champion.map(|said| said[row].alarm),
                challenger: challenger.0[row].alarm,
                label: labels[row],
            })
            .collect();
        let undisputed: Vec<Row> =
            counted.iter().copied().filter(|row| !row.is_disputed()).collect();
        let (same, either, both) = agreement(&undisputed);
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        let has_champion = champion.is_some();
        Self {
            rows: counted.len(),
            labelled: counted.iter().filter(|row| row.label.is_some()).count(),
            anomalies: counted.iter().filter(|row| row.label == Some(true)).count(),
            undisputed: undisputed.len(),
            agreement: share(same, undisputed.len()).filter(|_| has_champion),
            overlap: share(both, either).filter(|_| has_champion),
            champion: champion.map(|(_, cost)| {
                side(&counted, &undisputed, cost, |row| row.champion == Some(true))
            }),
            challenger: side(&counted, &undisputed, challenger.1, |row| row.challenger),
        }
    }
}

impl Gates {
    /// Whether each setting can be meant.
    pub fn check(&self) -> Result<(), GatesError> {
        let share = "a share from 0 to 1";
        let positive = "a finite number above 0";
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        let settings = [
            ("agreement_min", self.agreement_min, is_share(self.agreement_min), share),
            ("alarms_share_min", self.alarms_share_min, is_share(self.alarms_share_min), share),
            ("verdict_rate_max", self.verdict_rate_max, is_share(self.verdict_rate_max), share),
            ("recall_loss_max", self.recall_loss_max, is_share(self.recall_loss_max), share),
            (
                "precision_loss_max",
                self.precision_loss_max,
                is_share(self.precision_loss_max),
                share,
            ),
            (
                "alarms_factor_max",
                self.alarms_factor_max,
                is_positive(self.alarms_factor_max),
                positive,
            ),
            (
                "bytes_factor_max",
                self.bytes_factor_max,
                is_positive(self.bytes_factor_max),
                positive,
            ),
            ("row_us_max", self.row_us_max, is_positive(self.row_us_max), positive),
            (
                "row_time_factor_max",
                self.row_time_factor_max,
                is_positive(self.row_time_factor_max),
                positive,
            ),
            ("rows_min", self.rows_min as f64, self.rows_min > 0, "at least 1"),
            ("labels_min", self.labels_min as f64, self.labels_min > 0, "at least 1"),
        ];
        match settings.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((key, value, _, range)) => Err(GatesError { key, value, range }),
            None => Ok(()),
        }
    }

    /// Every gate, in the order in which people read them.
    pub fn judge(&self, comparison: &Comparison) -> Vec<Gate> {
        let challenger = &comparison.challenger;
        let mut gates = vec![
            gate(
                "rows",
                comparison.rows >= self.rows_min,
                comparison.rows.to_string(),
                format!("at least {}", self.rows_min),
            ),
            gate(
                "verdict rate",
                challenger.verdict_rate <= self.verdict_rate_max,
                percent(challenger.verdict_rate),
                format!("at most {}", percent(self.verdict_rate_max)),
            ),
        ];
        gates.extend(self.against_champion(comparison));
        gates.extend(self.against_labels(comparison));
        gates.push(self.size(comparison));
        gates.push(self.speed(comparison));
        gates
    }

    fn against_champion(&self, comparison: &Comparison) -> [Gate; 2] {
        let needed = format!("at least {}", percent(self.agreement_min));
        let agreement = match comparison.agreement {
            Some(agreement) => {
                gate("agreement", agreement >= self.agreement_min, percent(agreement), needed)
            }
            None => not_judged("agreement", "no champion to agree with", needed),
        };
        let Some(champion) = &comparison.champion else {
            let nothing = not_judged("alarms", "no champion to compare with", String::new());
            return [agreement, nothing];
        };
        let (ours, theirs) = (comparison.challenger.alarms_undisputed, champion.alarms_undisputed);
        let most = (theirs as f64 * self.alarms_factor_max).floor() as usize;
        let most = most.saturating_add(self.alarms_slack);
        let least = (theirs as f64 * self.alarms_share_min).ceil() as usize;
        let least = least.min(theirs.saturating_sub(self.alarms_slack));
        let alarms = gate(
            "alarms",
            (least..=most).contains(&ours),
            format!("{ours}, and the champion {theirs}"),
            format!("{least} to {most}"),
        );
        [agreement, alarms]
    }

    fn against_labels(&self, comparison: &Comparison) -> [Gate; 2] {
        let champion = comparison.champion.as_ref();
        let compared = |name, ours: Option<f64>, theirs: Option<f64>, loss: f64, enough: bool| {
            let (Some(ours), Some(theirs), true) = (ours, theirs, enough) else {
                let needed = format!("at most {} below the champion's", percent(loss));
                return not_judged(name, "too few labels", needed);
            };
            // A share of a few rows is not exact in binary.
            let passed = ours >= theirs - loss - 1e-12;
            let found = format!("{}, and the champion {}", percent(ours), percent(theirs));
            gate(name, passed, found, format!("at least {}", percent((theirs - loss).max(0.0))))
        };
        let labelled_alarms = |side: &Side| side.hits + side.false_alarms >= self.labels_min;
        let ours = &comparison.challenger;
        let enough_alarms = labelled_alarms(ours) && champion.is_some_and(labelled_alarms);
        [
            compared(
                "recall",
                ours.recall,
                champion.and_then(|side| side.recall),
                self.recall_loss_max,
                comparison.anomalies >= self.labels_min,
            ),
            compared(
                "precision",
                ours.precision,
                champion.and_then(|side| side.precision),
                self.precision_loss_max,
                enough_alarms && comparison.anomalies > 0,
            ),
        ]
    }

    fn size(&self, comparison: &Comparison) -> Gate {
        let factor = |side: &Side| (side.bytes as f64 * self.bytes_factor_max).floor() as u64;
        let most = comparison.champion.as_ref().map_or(self.bytes_max, |side| {
            // A small champion must not forbid a module that is small too.
            factor(side).max(SMALL_BYTES).min(self.bytes_max)
        });
        let bytes = comparison.challenger.bytes;
        gate("size", bytes <= most, format!("{bytes} bytes"), format!("at most {most} bytes"))
    }

    fn speed(&self, comparison: &Comparison) -> Gate {
        let most = comparison.champion.as_ref().map_or(self.row_us_max, |side| {
            (side.row_us * self.row_time_factor_max).max(QUICK_US).min(self.row_us_max)
        });
        let row_us = comparison.challenger.row_us;
        let found = format!("{row_us:.2} us a row");
        gate("speed", row_us <= most, found, format!("at most {most:.2} us a row"))
    }
}

/// Whether a challenger may be published: no gate failed.
pub fn all_passed(gates: &[Gate]) -> bool {
    gates.iter().all(|gate| gate.passage != Passage::Failed)
}

/// A share in per cent.
pub fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A module of at most this size is small whatever the champion's is.
const SMALL_BYTES: u64 = 512 * 1024;
/// A time a row that no measurement on a busy machine tells from a shorter one.
const QUICK_US: f64 = 5.0;

#[derive(Clone, Copy)]
struct Row {
    champion: Option<bool>,
    challenger: bool,
    label: Option<bool>,
}

impl Row {
    /// A label says that the champion is wrong.
    fn is_disputed(self) -> bool {
        matches!((self.champion, self.label), (Some(said), Some(is)) if said != is)
    }
}

/// How many have the same verdict, how many an alarm of either and how many of both.
fn agreement(rows: &[Row]) -> (usize, usize, usize) {
    let (mut same, mut either, mut both) = (0, 0, 0);
    for row in rows {
        let champion = row.champion.unwrap_or(false);
        same += usize::from(champion == row.challenger);
        either += usize::from(champion || row.challenger);
        both += usize::from(champion && row.challenger);
    }
    (same, either, both)
}

fn side(rows: &[Row], undisputed: &[Row], cost: Cost, alarm: impl Fn(&Row) -> bool) -> Side {
    let count =
        |label: Option<bool>| rows.iter().filter(|row| alarm(row) && row.label == label).count();
    let (hits, false_alarms, unlabelled) = (count(Some(true)), count(Some(false)), count(None));
    let anomalies = rows.iter().filter(|row| row.label == Some(true)).count();
    let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
    let alarms = hits + false_alarms + unlabelled;
    Side {
        alarms,
        verdict_rate: share(alarms, rows.len()).unwrap_or(0.0),
        precision: share(hits, hits + false_alarms),
        recall: share(hits, anomalies),
        false_alarms,
        hits,
        alarms_undisputed: undisputed.iter().filter(|row| alarm(row)).count(),
        bytes: cost.bytes,
        row_us: cost.row_us,
    }
}

fn gate(name: &'static str, passed: bool, found: String, needed: String) -> Gate {
    let passage = if passed { Passage::Passed } else { Passage::Failed };
    Gate { name, passage, found, needed }
}

fn not_judged(name: &'static str, why: &str, needed: String) -> Gate {
    Gate { name, passage: Passage::NotJudged, found: why.to_owned(), needed }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Cost = Cost { bytes: 300_000, row_us: 1.0 };

    fn said(alarm: bool) -> Said {
        Said { score: if alarm { 1.5 } else { 0.2 }, alarm, counts: true }
    }

    /// `rows` rows, with alarms on those that `alarm` names.
    fn saying(rows: usize, alarm: impl Fn(usize) -> bool) -> Vec<Said> {
        (0..rows).map(|row| said(alarm(row))).collect()
    }

    fn passage(gates: &[Gate], name: &str) -> Passage {
        gates.iter().find(|gate| gate.name == name).unwrap().passage
    }

    #[test]
    fn figures_equal_those_counted_by_hand() {
        let champion = saying(10, |row| row < 4);
        let mut challenger = saying(10, |row| (2..5).contains(&row));
        challenger[9].counts = false;
        let labels: Vec<Option<bool>> = [1, 0, 1, 2, 1, 0, 2, 2, 2, 1]
            .map(|label| [Some(false), Some(true), None][label])
            .to_vec();
        let found = Comparison::new(Some((&champion, COST)), (&challenger, COST), &labels);
        // Row 9 does not count; 1 (false alarm) and 4 (missed) are disputed.
        assert_eq!((found.rows, found.labelled, found.anomalies, found.undisputed), (9, 5, 3, 7));
        let (ours, theirs) = (found.challenger, found.champion.unwrap());
        assert_eq!((theirs.alarms, theirs.hits, theirs.false_alarms), (4, 2, 1));
        assert_eq!((ours.alarms, ours.hits, ours.false_alarms), (3, 2, 0));
        assert_eq!((theirs.alarms_undisputed, ours.alarms_undisputed), (3, 2));
        assert_eq!(found.agreement, Some(6.0 / 7.0));
        assert_eq!(found.overlap, Some(2.0 / 3.0));
        assert_eq!((theirs.precision, ours.precision), (Some(2.0 / 3.0), Some(1.0)));
        assert_eq!((theirs.recall, ours.recall), (Some(2.0 / 3.0), Some(2.0 / 3.0)));
    }

    #[test]
    fn each_gate_fails_for_its_own_reason() {
        let champion = saying(2000, |row| row % 100 == 0);
        let labels: Vec<Option<bool>> =
            (0..2000).map(|row| (row % 50 == 0).then_some(row % 100 == 0)).collect();
        let judge = |challenger: &[Said], cost| {
            let found = Comparison::new(Some((&champion, COST)), (challenger, cost), &labels);
            Gates::default().judge(&found)
        };
        assert!(all_passed(&judge(&champion, COST)), "the champion itself passes");
        let cases: [(&str, Vec<Said>, Cost); 6] = [
            ("agreement", saying(2000, |row| row % 15 == 0), COST),
            ("alarms", saying(2000, |row| row % 20 == 0), COST),
            ("alarms", saying(2000, |_| false), COST),
            ("recall", saying(2000, |row| row % 100 == 0 && row > 100), COST),
            ("size", champion.clone(), Cost { bytes: 600_001, ..COST }),
            ("speed", champion.clone(), Cost { row_us: 5.1, ..COST }),
        ];
        for (name, challenger, cost) in cases {
            let gates = judge(&challenger, cost);
            assert_eq!(passage(&gates, name), Passage::Failed, "{name}: {gates:?}");
            assert!(!all_passed(&gates));
        }
        let gates = judge(&saying(2000, |row| row % 50 == 0), COST);
        assert_eq!(passage(&gates, "precision"), Passage::Failed, "{gates:?}");
        let few = Comparison::new(
            Some((&champion[..900], COST)),
            (&champion[..900], COST),
            &labels[..900],
        );
        assert_eq!(passage(&Gates::default().judge(&few), "rows"), Passage::Failed);
        let loud = saying(2000, |row| row % 10 == 0);
        let first = Comparison::new(None, (&loud, COST), &labels);
        let gates = Gates::default().judge(&first);
        assert_eq!(passage(&gates, "verdict rate"), Passage::Failed);
        assert_eq!(passage(&gates, "agreement"), Passage::NotJudged);
    }

    #[test]
    fn labels_weigh_more_than_the_champions_opinion() {
        // The champion is wrong on a tenth of the rows, and the labels say so.
        let champion = saying(2000, |row| row % 10 == 0);
        let challenger = saying(2000, |row| row % 100 == 5);
        let labels: Vec<Option<bool>> =
            (0..2000).map(|row| (row % 10 == 0).then_some(false)).collect();
        let judge = |labels: &[Option<bool>]| {
            let found = Comparison::new(Some((&champion, COST)), (&challenger, COST), labels);
            Gates::default().judge(&found)
        };
        assert_eq!(passage(&judge(&labels), "agreement"), Passage::Passed);
        assert_eq!(passage(&judge(&vec![None; 2000]), "agreement"), Passage::Failed);
    }

    #[test]
    fn without_labels_there_is_nothing_to_judge_by_them() {
        let champion = saying(2000, |row| row % 100 == 0);
        let found = Comparison::new(Some((&champion, COST)), (&champion, COST), &vec![None; 2000]);
        let gates = Gates::default().judge(&found);
        assert_eq!(passage(&gates, "recall"), Passage::NotJudged);
        assert_eq!(passage(&gates, "precision"), Passage::NotJudged);
        assert!(all_passed(&gates));
        let nobody = Comparison::new(None, (&[], COST), &[]);
        assert!(!all_passed(&Gates::default().judge(&nobody)), "no rows are too few");
    }

    #[test]
    fn gates_that_cannot_be_meant_are_told() {
        Gates::default().check().unwrap();
        let wrong = [
            (Gates { agreement_min: 1.5, ..Gates::default() }, "agreement_min"),
            (Gates { alarms_factor_max: f64::NAN, ..Gates::default() }, "alarms_factor_max"),
            (Gates { rows_min: 0, ..Gates::default() }, "rows_min"),
        ];
        for (gates, key) in wrong {
            assert!(gates.check().unwrap_err().to_string().contains(key));
        }
    }
}
