//! From what modules say to what is told of each event. Which module acts is not decided here.

use super::Runner;
use crate::record::{Arrival, Reading, Record};
use crate::slot::{Judgement, Slot, dead_letter};
use twinge_contract::abi::Outcome;
use twinge_contract::audit::{Audit, AuditData};
use twinge_contract::verdict::Identity;
use twinge_rollout::Part;

impl Runner {
    /// A record for each event, in order. Where the acting module failed and the one that stands by
    /// did not, the latter's verdict counts.
    pub(super) fn verdicts(
        &mut self,
        arrivals: &[&Arrival],
        judgements: &[Judgement],
        others: &[Judgement],
    ) -> Vec<Record> {
        let stands_by = self.beside.as_ref().is_some_and(|beside| beside.part == Part::Fallback);
        let mut records = Vec::with_capacity(judgements.len());
        for (place, (arrival, judgement)) in arrivals.iter().zip(judgements).enumerate() {
            let other = others.get(place).filter(|other| stands_by && other.row().is_some());
            let (slot, judgement) = match (judgement, other, &self.beside) {
                (Judgement::Failed { .. }, Some(other), Some(beside)) => (&beside.slot, other),
                _ => (&self.acting, judgement),
            };
            records.push(self.record(slot, arrival, judgement));
            if let Judgement::Scored { event, .. } = judgement
                && self.wanted.binary_search(&arrival.offset).is_ok()
            {
                let (offset, time_ms) = (arrival.offset, event.time_ms);
                self.readings.push(Reading { offset, time_ms, inputs: event.inputs.clone() });
            }
        }
        if self.audits.is_some() {
            self.audit(arrivals, &records, judgements, others);
        }
        records
    }

    fn record(&self, slot: &Slot, arrival: &Arrival, judgement: &Judgement) -> Record {
        match judgement {
            Judgement::Scored { row, event } => {
                let identity = match event.identity {
                    Some(identity) if self.place.redelivers => Identity::Hash(identity),
                    _ => Identity::Offset(arrival.offset),
                };
                let verdict = slot.verdict(*row, event, &identity, arrival.offset);
                Record::Verdict(Box::new(verdict))
            }
            Judgement::Failed { message, .. } => {
                let message = message.clone();
                let letter = dead_letter(&self.place, arrival, "detector-failed", message);
                Record::DeadLetter(Box::new(letter))
            }
            Judgement::Dead { reason, message } => {
                let letter = dead_letter(&self.place, arrival, reason, message.clone());
                Record::DeadLetter(Box::new(letter))
            }
        }
    }

    /// Keeps what it takes to reach each anomaly's verdict again.
    fn audit(
        &mut self,
        arrivals: &[&Arrival],
        records: &[Record],
        judgements: &[Judgement],
        others: &[Judgement],
    ) {
        let Some(audits) = &mut self.audits else { return };
        let beside = self.beside.as_ref().map(|beside| beside.slot.module().digest().to_string());
        let acting = self.acting.module().digest().to_string();
        let slots = [Some(&mut self.acting), self.beside.as_mut().map(|beside| &mut beside.slot)];
        for (slot, judgements) in slots.into_iter().zip([judgements, others]) {
            let Some(slot) = slot else { continue };
            let digest = slot.module().digest().to_string();
            let by_slot = records.iter().zip(judgements).zip(arrivals);
            let anomalies = by_slot.filter_map(|((record, judgement), arrival)| match record {
                Record::Verdict(verdict)
                    if verdict.data.module == digest
                        && verdict.data.verdict == Outcome::Anomalous =>
                {
                    Some((judgement.row()?, verdict, arrival))
                }
                _ => None,
            });
            let anomalies: Vec<_> = anomalies.collect();
            let rows: Vec<usize> = anomalies.iter().map(|(row, ..)| *row).collect();
            for ((_, verdict, arrival), prior) in anomalies.iter().zip(slot.prior_states(&rows)) {
                let Some(prior_state) = prior else { continue };
                audits.push(Audit::new(AuditData {
                    verdict: (**verdict).as_ref().clone(),
                    event: arrival.bytes.clone(),
                    attributes: arrival.attributes.clone(),
                    ingested_ms: arrival.ingested_ms,
                    prior_state,
                    serial: self.orders.serial,
                    beside: beside.clone().filter(|_| digest == acting),
                }));
            }
        }
    }

    pub(super) fn count(&mut self, record: &Record) {
        self.counts.events += 1;
        match record {
            Record::Verdict(verdict) => {
                self.counts.verdicts += 1;
                self.counts.anomalies += u64::from(verdict.data.verdict == Outcome::Anomalous);
            }
            Record::DeadLetter(_) => self.counts.dead_letters += 1,
            Record::Duplicate => self.counts.duplicates += 1,
        }
    }
}
