//! Who holds what: processes, their threads and capabilities, as an epoch's records say.

use std::collections::BTreeMap;
use std::fmt::Write;

use abi::protocol::service::Service;
use abi::record::Table;
use abi::{Kind, Rights};
use kernel_core::{Capability, Endpoint, Process, State, Thread};

use crate::picture;
use crate::session::Contents;

/// A process of the world.
#[derive(Clone, Debug)]
pub struct ProcessView {
    /// Its index.
    pub index: u32,
    /// What its startup page calls it.
    pub name: Option<String>,
    /// Its record.
    pub process: Process,
    /// Its threads.
    pub threads: Vec<(u32, Thread)>,
    /// What it holds, by handle's position in its table.
    pub held: Vec<Held>,
}

impl ProcessView {
    /// What a picture calls it.
    pub fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| format!("process {}", self.index), |name| format!("{name} ({})", self.index))
    }
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
    /// Ports: endpoints that a volatile server answers, and of which service.
    pub ports: BTreeMap<u32, u32>,
    /// Records that are none: table and index.
    pub broken: Vec<(u16, u32)>,
}

/// Names of rights, short enough for an edge.
pub fn rights_text(rights: Rights) -> String {
    let names: Vec<String> = rights.iter_names().map(|(name, _)| name.to_lowercase()).collect();
    if names.is_empty() { "–".into() } else { names.join("+") }
}

/// The name of an object's node.
fn node((kind, index): (Kind, u32)) -> String {
    if kind == Kind::Process { format!("process{index}") } else { format!("{kind:?}{index}") }
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
                        graph.processes.push(ProcessView { index: *index, name: None, process, threads, held });
                    }
                })
            } else if *table == Table::Thread as u16 {
                Thread::read(bytes).map(|thread| {
                    if thread.state != State::Free {
                        threads.entry(thread.process).or_default().push((*index, thread));
                    }
                })
            } else if *table == Table::Capability as u16 {
                Capability::read(bytes).map(|capability| {
                    capabilities.insert(*index, capability);
                })
            } else if *table == Table::Endpoint as u16 {
                Endpoint::read(bytes).map(|endpoint| {
                    if endpoint.service != 0 {
                        graph.ports.insert(*index, endpoint.service);
                    }
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

    /// Gives processes their names, by index.
    pub fn call(&mut self, mut names: BTreeMap<u32, String>) {
        for view in &mut self.processes {
            view.name = names.remove(&view.index);
        }
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

    /// As a graph for Graphviz: an edge for each pair of holder and object, with all that it allows.
    pub fn dot(&self) -> String {
        let mut out = String::from(
            "digraph world {\n  rankdir=LR;\n  nodesep=0.15;\n  ranksep=2;\n  node [fontname=\"sans-serif\" fontsize=10];\n  \
             edge [fontname=\"sans-serif\" fontsize=8 color=\"#00000080\"];\n",
        );
        for view in &self.processes {
            let (index, title, threads) = (view.index, view.title(), view.threads.len());
            let _ = writeln!(out, "  process{index} [shape=box label=\"{title}\\n{threads} threads\"];");
        }
        for object in self.objects() {
            let _ = writeln!(out, "  {} [shape=ellipse label=\"{}\"];", node(object), self.object_name(object));
        }
        for view in &self.processes {
            let mut edges: BTreeMap<(Kind, u32), Vec<String>> = BTreeMap::new();
            for held in &view.held {
                if let Some(kind) = held.capability.kind() {
                    let label = rights_text(held.capability.rights());
                    edges.entry((kind, held.capability.object)).or_default().push(label);
                }
            }
            for (object, mut labels) in edges {
                labels.dedup();
                let _ =
                    writeln!(out, "  process{} -> {} [label=\"{}\"];", view.index, node(object), labels.join("\\n"));
            }
        }
        out.push_str("}\n");
        out
    }

    /// As a picture (SVG). See `picture.rs`.
    pub fn svg(&self) -> String {
        picture::draw(self)
    }

    /// What an object is called: its kind and index, and of a port its service.
    pub fn object_name(&self, (kind, index): (Kind, u32)) -> String {
        let service = if kind == Kind::Endpoint { self.ports.get(&index) } else { None };
        match service {
            Some(service) => format!("{kind:?} {index} ({} port)", service_name(*service)),
            None => format!("{kind:?} {index}"),
        }
    }
}

fn service_name(service: u32) -> String {
    let known = [Service::Memory, Service::Console, Service::Snapshot, Service::Clock];
    let found = known.into_iter().find(|known| *known as u32 == service);
    found.map_or_else(|| service.to_string(), |service| format!("{service:?}").to_lowercase())
}
