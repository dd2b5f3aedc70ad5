//! What the runs brought: samples, their medians, and whether targets are met.

use crate::json::quoted;
use crate::peers::REFERENCES;
use crate::run::Sample;
use crate::works::{Bound, Case, Figure, Target, Unit, Work};
use std::collections::BTreeMap;

/// All samples, by work, case and peer.
#[derive(Default)]
pub(crate) struct Results(BTreeMap<(&'static str, &'static str, &'static str), Vec<Sample>>);

/// The middle of some samples, and their ends.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// How a target came out.
pub(crate) struct Verdict {
    pub(crate) text: String,
    /// None: there are no figures to judge by.
    pub(crate) met: Option<bool>,
}

impl Results {
    pub(crate) fn add(&mut self, work: &'static Work, case: &'static Case, peer: &'static str, sample: Sample) {
        self.0.entry((work.name, case.label, peer)).or_default().push(sample);
    }

    pub(crate) fn spread(&self, work: &Work, case: &str, peer: &str, figure: &Figure) -> Option<Spread> {
        let samples = self.0.get(&(work.name, case, peer))?;
        let mut values: Vec<f64> = samples
            .iter()
            .flat_map(|sample| sample.iter().filter(|(key, _)| key == figure.key).map(|&(_, value)| value))
            .collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, least, most })
    }

    /// How many times better `this` is than `that`: faster, or smaller.
    pub(crate) fn ratio(&self, work: &Work, case: &str, figure: &Figure, this: &str, that: &str) -> Option<f64> {
        let this = self.spread(work, case, this, figure)?.median;
        let that = self.spread(work, case, that, figure)?.median;
        Some(if figure.unit == Unit::Rate { this / that } else { that / this })
    }

    /// The sideloop that the others are compared with.
    pub(crate) fn reference(&self, work: &Work) -> Option<&'static str> {
        REFERENCES.iter().copied().find(|&name| {
            let preferred = work.served || name != REFERENCES[0];
            preferred && work.cases.iter().any(|case| self.0.contains_key(&(work.name, case.label, name)))
        })
    }

    pub(crate) fn judge(&self, work: &Work, case: &str, target: &Target) -> Verdict {
        let figure = &work.figures[0];
        let (wanted, got, met) = match target.bound {
            Bound::Takes(limit, peer) => {
                let got = self.ratio(work, case, figure, target.subject, peer).map(|ratio| 1.0 / ratio);
                (format!("takes at most {limit} x {peer}"), got.map(times), got.map(|got| got <= limit))
            }
            Bound::Speed(limit, peer) => {
                let got = self.ratio(work, case, figure, target.subject, peer);
                (format!("is at least {limit} x as fast as {peer}"), got.map(times), got.map(|got| got >= limit))
            }
            Bound::AtMost(limit) => {
                let got = self.spread(work, case, target.subject, figure).map(|spread| spread.median);
                let text = got.map(|got| figure.unit.write(got));
                (format!("at most {}", figure.unit.write(limit)), text, got.map(|got| got <= limit))
            }
        };
        let text = format!(
            "{}, {case}: {} {wanted}: {}",
            work.name,
            target.subject,
            got.unwrap_or_else(|| "not measured".into())
        );
        Verdict { text, met }
    }

    /// All of it, for other programs.
    pub(crate) fn to_json(&self, works: &[&'static Work], verdicts: &[Verdict], rounds: usize, quick: bool) -> String {
        let mut rows = Vec::new();
        for (&(work, case, peer), samples) in &self.0 {
            let Some(described) = works.iter().find(|described| described.name == work) else { continue };
            for figure in described.figures {
                let Some(Spread { median, least, most }) = self.spread(described, case, peer, figure) else { continue };
                rows.push(format!(
                    "    {{\"work\": {}, \"case\": {}, \"peer\": {}, \"figure\": {}, \"runs\": {}, \
                     \"median\": {median:.3}, \"least\": {least:.3}, \"most\": {most:.3}}}",
                    quoted(work),
                    quoted(case),
                    quoted(peer),
                    quoted(figure.key),
                    samples.len(),
                ));
            }
        }
        let targets = verdicts.iter().map(|verdict| {
            let met = verdict.met.map_or("null".to_owned(), |met| met.to_string());
            format!("    {{\"target\": {}, \"met\": {met}}}", quoted(&verdict.text))
        });
        format!(
            "{{\n  \"rounds\": {rounds},\n  \"quick\": {quick},\n  \"processors\": {},\n  \"results\": [\n{}\n  ],\n  \
             \"targets\": [\n{}\n  ]\n}}\n",
            std::thread::available_parallelism().map_or(0, usize::from),
            rows.join(",\n"),
            targets.collect::<Vec<_>>().join(",\n"),
        )
    }
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2} x")
}

impl Unit {
    /// Writes a figure with three digits that count.
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Unit::Time => scaled(value, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")]),
            Unit::Rate => scaled(value, &[(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")]),
            Unit::Bytes => scaled(value, &[(1e6, "MB"), (1e3, "kB"), (1.0, "B")]),
        }
    }
}

fn scaled(value: f64, scales: &[(f64, &str)]) -> String {
    let (scale, unit) = scales.iter().find(|(scale, _)| value >= *scale).or(scales.last()).unwrap_or(&(1.0, ""));
    let value = value / scale;
    let digits = if value >= 100.0 { 0 } else { 1 + usize::from(value < 10.0) };
    format!("{value:.digits$} {unit}")
}
