//! Who holds what: processes, their threads and capabilities, as an epoch's records say.

use std::collections::BTreeMap;
use std::fmt::Write;

use abi::record::Table;
use abi::{Kind, Rights};
use kernel_core::{Capability, Process, Thread};

use crate::session::Contents;

/// A process of the world.
#[derive(Clone, Debug)]
pub struct ProcessView {
    /// Its index.
    pub index: u32,
    /// Its record.
    pub process: Process,
    /// Its threads.
    pub threads: Vec<(u32, Thread)>,
    /// What it holds, by handle's position in its table.
    pub held: Vec<Held>,
}

/// A capability that a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Position in the process's table.
    pub position: u32,
    /// Its record.
    pub capability: Capability,
}

/// The capability graph of an epoch.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Processes, by index.
    pub processes: Vec<ProcessView>,
    /// Records that are none: table and index.
    pub broken: Vec<(u16, u32)>,
}

/// Names of rights, short enough for an edge.
pub fn rights_text(rights: Rights) -> String {
    let names: Vec<String> = rights.iter_names().map(|(name, _)| name.to_lowercase()).collect();
    if names.is_empty() { "–".into() } else { names.join("+") }
}

impl Graph {
    /// From the records of an epoch.
    pub fn new(contents: &Contents) -> Self {
        let mut graph = Self::default();
        let mut threads: BTreeMap<u32, Vec<(u32, Thread)>> = BTreeMap::new();
        let mut capabilities = BTreeMap::new();
        for ((table, index), bytes) in &contents.records {
            let known = if *table == Table::Process as u16 {
                Process::read(bytes).map(|process| {
                    if process.exists() {
                        let (threads, held) = (Vec::new(), Vec::new());
                        graph.processes.push(ProcessView { index: *index, process, threads, held });
                    }
                })
            } else if *table == Table::Thread as u16 {
                Thread::read(bytes).map(|thread| threads.entry(thread.process).or_default().push((*index, thread)))
            } else if *table == Table::Capability as u16 {
                Capability::read(bytes).map(|capability| {
                    capabilities.insert(*index, capability);
                })
            } else {
                continue;
            };
            if known.is_err() {
                graph.broken.push((*table, *index));
            }
        }
        for view in &mut graph.processes {
            view.threads = threads.remove(&view.index).unwrap_or_default();
            let first = view.process.slots;
            let end = first.saturating_add(view.process.slot_count);
            for (slot, capability) in capabilities.range(first..end) {
                if capability.kind().is_some() {
                    view.held.push(Held { position: slot - first, capability: *capability });
                }
            }
        }
        graph
    }

    /// Objects that somebody holds: kind and index.
    fn objects(&self) -> Vec<(Kind, u32)> {
        let mut objects: Vec<(Kind, u32)> = self
            .processes
            .iter()
            .flat_map(|view| &view.held)
            .filter_map(|held| held.capability.kind().map(|kind| (kind, held.capability.object)))
            .filter(|(kind, _)| *kind != Kind::Process)
            .collect();
        objects.sort_unstable();
        objects.dedup();
        objects
    }

    /// As a graph for Graphviz.
    pub fn dot(&self) -> String {
        let mut out = String::from("digraph world {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
        for view in &self.processes {
            let _ = writeln!(
                out,
                "  process{} [shape=box label=\"process {}\\n{} threads\"];",
                view.index,
                view.index,
                view.threads.len()
            );
        }
        for (kind, index) in self.objects() {
            let _ = writeln!(out, "  {kind:?}{index} [shape=ellipse label=\"{kind:?} {index}\"];");
        }
        for view in &self.processes {
            for held in &view.held {
                let Some(kind) = held.capability.kind() else {
                    continue;
                };
                let name = if kind == Kind::Process { "process".into() } else { format!("{kind:?}") };
                let rights = rights_text(held.capability.rights());
                let _ =
                    writeln!(out, "  process{} -> {name}{} [label=\"{rights}\"];", view.index, held.capability.object);
            }
        }
        out.push_str("}\n");
        out
    }

    /// As a picture: processes to the left, what they hold to the right, a curve for each capability.
    pub fn svg(&self) -> String {
        const ROW: usize = 34;
        let objects = self.objects();
        let rows = self.processes.len().max(objects.len()).max(1);
        let height = rows * ROW + 40;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let spread = |position: usize, count: usize| 30 + (2 * position + 1) * rows * ROW / (2 * count.max(1));
        let process_y = |index: u32| {
            let position = self.processes.iter().position(|view| view.index == index)?;
            Some(spread(position, self.processes.len()))
        };
        for view in &self.processes {
            let from = process_y(view.index).unwrap_or(0);
            for held in &view.held {
                let capability = held.capability;
                let (x, y) = match capability.kind() {
                    Some(Kind::Process) => (190, process_y(capability.object)),
                    Some(kind) => (
                        700,
                        objects
                            .iter()
                            .position(|object| *object == (kind, capability.object))
                            .map(|position| spread(position, objects.len())),
                    ),
                    None => continue,
                };
                let Some(y) = y else {
                    continue;
                };
                let hue = view.index * 47 % 360;
                let rights = rights_text(capability.rights());
                let _ = writeln!(
                    out,
                    "<path d=\"M190 {from} C 420 {from}, 480 {y}, {x} {y}\" fill=\"none\" \
                     stroke=\"hsl({hue} 55% 45%)\" stroke-opacity=\"0.7\"><title>process {} → {:?} {}: \
                     {rights}</title></path>",
                    view.index,
                    capability.kind(),
                    capability.object
                );
            }
        }
        for view in &self.processes {
            let y = process_y(view.index).unwrap_or(0);
            let _ = writeln!(
                out,
                "<rect x=\"30\" y=\"{}\" width=\"160\" height=\"24\" rx=\"3\" fill=\"#eef\" stroke=\"#446\"/>\
                 <text x=\"40\" y=\"{}\">process {} · {} threads</text>",
                y - 12,
                y + 4,
                view.index,
                view.threads.len()
            );
        }
        for (position, (kind, index)) in objects.iter().enumerate() {
            let y = spread(position, objects.len());
            let _ = writeln!(
                out,
                "<rect x=\"700\" y=\"{}\" width=\"170\" height=\"24\" rx=\"12\" fill=\"#efe\" stroke=\"#464\"/>\
                 <text x=\"712\" y=\"{}\">{kind:?} {index}</text>",
                y - 12,
                y + 4
            );
        }
        out.push_str("</svg>\n");
        out
    }
}
