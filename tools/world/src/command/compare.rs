//! What changed between two epochs.

use std::collections::BTreeMap;
use std::path::Path;

use abi::Epoch;
use serde_json::{Value, json};
use world::{Access, Contents, Graph, Held, ProcessView, Session, WorldError};

use super::{Done, Output, rights};

/// Pages and capabilities that are named, at most, where a person reads; JSON has all.
const SHOWN_MAX: usize = 50;

/// How a capability has changed.
struct Change {
    process: u32,
    position: u32,
    before: Option<Held>,
    after: Option<Held>,
}

impl Change {
    fn json(&self) -> Value {
        let side = |held: &Option<Held>| {
            held.map(|held| {
                let capability = held.capability;
                json!({
                    "kind": capability.kind().map(|kind| format!("{kind:?}")), "object": capability.object,
                    "generation": capability.generation, "badge": capability.badge, "rights": rights(&capability),
                })
            })
        };
        let (before, after) = (side(&self.before), side(&self.after));
        json!({ "process": self.process, "position": self.position, "before": before, "after": after })
    }

    fn line(&self, graphs: (&Graph, &Graph)) -> String {
        let side = |graph: &Graph, held: &Held| {
            let capability = held.capability;
            let name = capability.kind().map_or_else(String::new, |kind| graph.object_name((kind, capability.object)));
            format!("{name} {}", rights(&capability))
        };
        let what = match (&self.before, &self.after) {
            (None, Some(held)) => format!("+ {}", side(graphs.1, held)),
            (Some(held), None) => format!("- {}", side(graphs.0, held)),
            (Some(before), Some(after)) => format!("{} → {}", side(graphs.0, before), side(graphs.1, after)),
            (None, None) => String::new(),
        };
        format!("  process {:>3} at {:>3}  {what}\n", self.process, self.position)
    }
}

fn by_position(graph: &Graph) -> BTreeMap<(u32, u32), Held> {
    let all = graph.processes.iter().flat_map(|view| view.held.iter().map(|held| ((view.index, held.position), *held)));
    all.collect()
}

/// Capabilities that one of the two has and the other has not, or has otherwise.
fn capabilities(before: &Graph, after: &Graph) -> Vec<Change> {
    let (old, new) = (by_position(before), by_position(after));
    let mut names: Vec<(u32, u32)> = old.keys().chain(new.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    let changes = names.into_iter().map(|name| (name, old.get(&name).copied(), new.get(&name).copied()));
    changes
        .filter(|(_, before, after)| before.map(|held| held.capability) != after.map(|held| held.capability))
        .map(|((process, position), before, after)| Change { process, position, before, after })
        .collect()
}

/// Processes that both have, and whose record or threads are not the same.
fn changed_processes(before: &Graph, after: &Graph) -> Vec<u32> {
    let same = |one: &ProcessView, other: &ProcessView| one.process == other.process && one.threads == other.threads;
    let both = before.processes.iter().filter_map(|old| {
        let new = after.processes.iter().find(|new| new.index == old.index)?;
        (!same(old, new)).then_some(old.index)
    });
    both.collect()
}

fn rest(count: usize) -> String {
    if count > SHOWN_MAX { format!("  and {} more: --json has all\n", count - SHOWN_MAX) } else { String::new() }
}

impl Output {
    pub(crate) fn diff(&self, image: &Path, from: Epoch, to: Epoch) -> Done {
        let (_, old) = self.contents(image, Some(from))?;
        let (_, new) = self.contents(image, Some(to))?;
        let (before, after) = (Graph::new(&old), Graph::new(&new));
        let indices = |graph: &Graph| graph.processes.iter().map(|view| view.index).collect::<Vec<_>>();
        let (had, has) = (indices(&before), indices(&after));
        let gone: Vec<u32> = had.iter().filter(|index| !has.contains(index)).copied().collect();
        let made: Vec<u32> = has.iter().filter(|index| !had.contains(index)).copied().collect();
        let records: Vec<(u16, u32)> = new
            .records
            .iter()
            .filter(|(name, bytes)| old.records.get(name) != Some(bytes))
            .map(|(name, _)| *name)
            .chain(old.records.keys().filter(|name| !new.records.contains_key(name)).copied())
            .collect();
        let pages = self.changed_pages(image, (from, &old), (to, &new))?;
        let processes = changed_processes(&before, &after);
        let capabilities = capabilities(&before, &after);
        let rows: Vec<Value> = capabilities.iter().map(Change::json).collect();
        let value = json!({
            "from": from.to_string(), "to": to.to_string(), "processes_gone": gone, "processes_made": made,
            "processes_changed": processes, "capabilities_changed": rows, "records_changed": records,
            "pages_changed": pages,
        });
        self.print(&value, || {
            let mut text = format!("{from} → {to}\nprocesses made {made:?}, gone {gone:?}, changed {processes:?}\n");
            text += &format!("{} capabilities changed\n", capabilities.len());
            for change in capabilities.iter().take(SHOWN_MAX) {
                text += &change.line((&before, &after));
            }
            text += &rest(capabilities.len());
            text += &format!("{} records changed\n{} pages changed\n", records.len(), pages.len());
            for (object, index) in pages.iter().take(SHOWN_MAX) {
                text += &format!("  object {object:#x} page {index}\n");
            }
            text + &rest(pages.len())
        })
    }

    /// Pages that differ, by contents.
    fn changed_pages(
        &self,
        image: &Path,
        (from, old): (Epoch, &Contents),
        (to, new): (Epoch, &Contents),
    ) -> Result<Vec<(u64, u64)>, WorldError> {
        let mut keys: Vec<(u64, u64)> = old.pages.iter().chain(&new.pages).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let mut memories = (Session::memory(image)?, Session::memory(image)?);
        let mut before = Session::open(&mut memories.0, image, Access::Read, Some(from))?;
        let mut after = Session::open(&mut memories.1, image, Access::Read, Some(to))?;
        let mut changed = Vec::new();
        for (object, index) in keys {
            if before.page(object, index)? != after.page(object, index)? {
                changed.push((object, index));
            }
        }
        Ok(changed)
    }
}
