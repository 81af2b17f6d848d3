//! One figure as the guest printed it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// What begins a line with a figure.
const MARK: &str = "BENCH ";

/// A measured value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: String,
    /// Percentiles and the like.
    pub(crate) more: Vec<(String, String)>,
}

impl Figure {
    /// The figure in a line of the console; `None` if it holds none. `regions` are the plugin's: instructions for each
    /// time a region was entered.
    pub(crate) fn read(line: &str, regions: &BTreeMap<u8, f64>) -> Option<Result<Self>> {
        let (_, text) = line.split_once(MARK)?;
        Some(Self::parse(text, regions).with_context(|| format!("in the line {line:?}")))
    }

    fn parse(text: &str, regions: &BTreeMap<u8, f64>) -> Result<Self> {
        let mut words = text.split_ascii_whitespace();
        let name = words.next().context("no name")?.to_owned();
        let value = words.next().context("no value")?;
        let value = match value.strip_prefix('@') {
            None => value.parse().ok().filter(|value: &f64| value.is_finite()).context("no number")?,
            Some(region) => match region.parse().ok().and_then(|region: u8| regions.get(&region)) {
                Some(counted) => *counted,
                None => bail!("nothing was counted in region {region}: is --plugin given?"),
            },
        };
        let unit = words.next().context("no unit")?.to_owned();
        let pair = |word: &str| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let more = words.map(|word| pair(word).with_context(|| format!("{word:?} is not key=value")));
        Ok(Self { name, value, unit, more: more.collect::<Result<_>>()? })
    }

    /// As an object: name, value, unit, and the rest as further keys, numbers where they are numbers.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), self.name.clone().into());
        object.insert("value".into(), number(self.value));
        object.insert("unit".into(), self.unit.clone().into());
        for (key, text) in &self.more {
            let value = text.parse().ok().filter(|value: &f64| value.is_finite()).map(number);
            object.insert(key.clone(), value.unwrap_or_else(|| text.clone().into()));
        }
        Value::Object(object)
    }
}

/// Whole numbers are written as such.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { Value::from(value as i64) } else { Value::from(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Result<Figure>> {
        Figure::read(line, &BTreeMap::from([(3, 12.5)]))
    }

    #[test]
    fn lines_are_read() {
        let figure = read("[kernel] BENCH cut 58 instructions p50=58 max=1.5 cpu=max\r").expect("one").expect("good");
        let json = figure.to_json().to_string();
        assert_eq!(json, r#"{"cpu":"max","max":1.5,"name":"cut","p50":58,"unit":"instructions","value":58}"#);
        assert_eq!(read("BENCH idle @3 instructions").expect("one").expect("good").value, 12.5);
        assert!(read("no figure here").is_none());
        for bad in ["BENCH ", "BENCH a", "BENCH a b c", "BENCH a 1", "BENCH a 1 u x", "BENCH a NaN u", "BENCH a @4 u"] {
            assert!(read(bad).is_some_and(|figure| figure.is_err()), "{bad}");
        }
    }
}
