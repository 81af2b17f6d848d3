//! The figures of others, and the table that sets ours beside them.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Figure;
use crate::project;

/// All anchors by the name of the figure.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Anchors(BTreeMap<String, Anchor>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anchor {
    unit: String,
    goal: Option<f64>,
    /// The goal is to be reached from below.
    #[serde(default)]
    at_least: bool,
    floor: Option<f64>,
    sel4: Option<f64>,
    linux: Option<f64>,
    source: String,
}

impl Anchors {
    /// Reads `xtask/anchors.toml`.
    pub(crate) fn load() -> Result<Self> {
        let path = project::root().join("xtask/anchors.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// The table, and below it where the others' figures come from.
    pub(crate) fn table(&self, figures: &[Figure]) -> String {
        let mut text = String::new();
        let mut notes = String::new();
        let head = ["figure", "value", "unit", "goal", "", "floor", "seL4", "Linux"];
        line(&mut text, head.map(str::to_owned), "");
        for figure in figures {
            let anchor = self.0.get(&figure.name).filter(|anchor| anchor.unit == figure.unit);
            let of = |pick: fn(&Anchor) -> Option<f64>| anchor.and_then(pick).map(show).unwrap_or("–".to_owned());
            let goal = anchor.and_then(|anchor| anchor.goal);
            let at_least = anchor.is_some_and(|anchor| anchor.at_least);
            let is_met = |goal| if at_least { figure.value >= goal } else { figure.value <= goal };
            let reached = goal.map_or("", |goal| if is_met(goal) { "met" } else { "missed" });
            let more: Vec<_> = figure.more.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let columns = [
                figure.name.clone(),
                show(figure.value),
                figure.unit.clone(),
                of(|anchor| anchor.goal),
                reached.to_owned(),
                of(|anchor| anchor.floor),
                of(|anchor| anchor.sel4),
                of(|anchor| anchor.linux),
            ];
            line(&mut text, columns, &more.join(" "));
            if let Some(anchor) = anchor {
                // Writing into a string cannot fail.
                let _ = writeln!(notes, "  {}: {}", figure.name, anchor.source);
            }
        }
        if notes.is_empty() { text } else { format!("{text}\n{notes}") }
    }
}

fn line(text: &mut String, columns: [String; 8], more: &str) {
    let [figure, value, unit, goal, reached, floor, sel4, linux] = columns;
    let row =
        format!("{figure:<26} {value:>10} {unit:<13} {goal:>9} {reached:<7} {floor:>7} {sel4:>7} {linux:>10}  {more}");
    text.push_str(row.trim_end());
    text.push('\n');
}

fn show(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_stand_beside_theirs() {
        let anchors = Anchors::load().expect("the file is in order");
        let figure =
            |name: &str, value, unit: &str| Figure { name: name.into(), value, unit: unit.into(), more: vec![] };
        let figures = [
            figure("null_syscall", 44.0, "insns"),
            figure("cut_100_objects", 601.0, "insns"),
            figure("cut_100_objects", 1.5, "ms"),
        ];
        let table = anchors.table(&figures);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].contains("met") && lines[1].contains("95"), "{table}");
        assert!(lines[2].contains("missed") && lines[2].contains("8890000"), "{table}");
        assert!(!lines[3].contains("8890000"), "another unit has no anchor: {table}");
        let table = anchors.table(&[figure("stream_ratio", 0.95, "of-raw"), figure("stream_ratio", 0.85, "of-raw")]);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].contains("met") && lines[2].contains("missed"), "{table}");
    }
}
