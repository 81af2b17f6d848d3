//! The commands that only look: what each prints.

mod change;
mod compare;
mod verify;

use std::io::Write;
use std::path::Path;

use abi::Epoch;
use serde_json::{Value, json};
use snapshot_server::Case;
use world::{Access, Contents, FileHost, Graph, LogEpoch, Session, Survey, WorldError};

/// An epoch from the command line.
pub(crate) fn epoch(text: &str) -> Result<Epoch, String> {
    let wrong = || format!("no epoch: {text}");
    let Some((incarnation, counter)) = text.split_once('.') else {
        return text.parse().map(Epoch::from_bits).map_err(|_| wrong());
    };
    let (incarnation, counter): (u32, u64) =
        (incarnation.parse().map_err(|_| wrong())?, counter.parse().map_err(|_| wrong())?);
    if incarnation > abi::INCARNATION_MAX || counter >> abi::COUNTER_BITS != 0 {
        return Err(wrong());
    }
    Ok(Epoch::from_bits(u64::from(incarnation) << abi::COUNTER_BITS | counter))
}

/// How things are printed, and of which epoch.
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) epoch: Option<Epoch>,
}

type Done = Result<bool, WorldError>;

fn survey(image: &Path) -> Result<(FileHost, Survey), WorldError> {
    let mut host = FileHost::open(image, Access::Read, 0)?;
    let survey = Survey::new(&mut host)?;
    Ok((host, survey))
}

/// What an epoch of the log takes: its pages and its descriptors.
fn log_bytes(epoch: &LogEpoch) -> u64 {
    (u64::from(epoch.pages) + u64::from(epoch.descriptors)) * 4096
}

/// Copies of roots that were written and are not sound, and what is wrong with each.
fn written_roots(survey: &Survey) -> impl Iterator<Item = (format::Block, &'static str)> + '_ {
    let written = survey.roots_unsound.iter().filter(|copy| copy.written);
    written.map(|copy| (copy.block, world::root_text(copy.flaw)))
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl Output {
    fn print(&self, value: &Value, text: impl FnOnce() -> String) -> Done {
        let text = if self.json { format!("{value:#}\n") } else { text() };
        // A reader that has seen enough closes the pipe: no error.
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(true),
        }
    }

    /// Tells of an error as it was asked to tell of everything.
    pub(crate) fn error(&self, error: &WorldError) {
        if self.json {
            // Nobody may be there to read it.
            let _ = self.print(&json!({ "error": error.to_string() }), String::new);
        }
        let _ = writeln!(std::io::stderr(), "world: {error}");
    }

    fn contents(&self, image: &Path, epoch: Option<Epoch>) -> Result<(Epoch, Contents), WorldError> {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, epoch)?;
        let contents = session.contents()?;
        Ok((session.report().epoch, contents))
    }

    /// Who holds what, with names.
    fn graph_of(&self, image: &Path) -> Result<(Epoch, Graph), WorldError> {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, self.epoch)?;
        let contents = session.contents()?;
        let mut graph = Graph::new(&contents);
        graph.call(world::names(&mut session, &contents));
        Ok((session.report().epoch, graph))
    }

    pub(crate) fn info(&self, image: &Path) -> Done {
        let (host, survey) = survey(image)?;
        drop(host);
        let mut memory = Session::memory(image)?;
        let session = Session::open(&mut memory, image, Access::Read, self.epoch)?;
        let (report, status) = (session.report(), session.store().status());
        let cases: Vec<String> =
            Case::ALL.into_iter().filter(|case| report.met(*case)).map(|case| format!("{case:?}")).collect();
        let geometry = survey.header.geometry;
        let value = json!({
            "world": format!("{:016x}", survey.world().0),
            "version": survey.header.version,
            "blocks": geometry.blocks(),
            "segment_blocks": geometry.segment_blocks(),
            "formatted_ns": survey.header.formatted_ns,
            "programs": format!("{:016x}", survey.header.programs),
            "headers_sound": survey.headers_sound,
            "roots_sound": survey.roots.0,
            "root_slots": survey.roots.1,
            "roots_unsound": written_roots(&survey)
                .map(|(block, error)| json!({ "block": block.0, "why": error }))
                .collect::<Vec<_>>(),
            "epoch": report.epoch.to_string(),
            "incarnation": report.incarnation,
            "restores_without_commit": report.restores,
            "recovery": cases,
            "free_blocks": status.free_blocks,
            "data_blocks": status.data_blocks,
            "checkpoints": survey.checkpoints().len(),
            "log_descriptors": report.descriptors,
            "dropped": report.dropped.map(|dropped| format!("{dropped:?}")),
        });
        self.print(&value, || {
            let used = status.data_blocks - status.free_blocks;
            let percent = 100.0 * f64::from(used) / f64::from(status.data_blocks.max(1));
            let sound = |copies: [bool; 2]| copies.iter().filter(|sound| **sound).count();
            let mut text = format!(
                "world        {:016x}, version {}\nheaders      {} of 2 sound; roots {} of {}\n",
                survey.world().0,
                survey.header.version,
                sound(survey.headers_sound),
                survey.roots.0,
                survey.roots.1
            );
            text += &format!(
                "size         {} blocks, {} MiB\nused         {used} blocks, {percent:.1} %\n",
                geometry.blocks(),
                geometry.blocks() / 256
            );
            text += &format!("epoch        {}\nincarnation  {}", report.epoch, report.incarnation);
            text += &format!(", {} restores without a commit\n", report.restores);
            text += &format!("checkpoints  {}\n", survey.checkpoints().len());
            text += &format!("log          {} descriptors\nopening      {}\n", report.descriptors, cases.join(", "));
            for (block, error) in written_roots(&survey) {
                text += &format!("root         {block}: {error}\n");
            }
            if let Some(dropped) = report.dropped {
                text += &format!(
                    "dropped      epoch {}: page {} of object {:#x} at {} is not whole\n",
                    dropped.epoch, dropped.key.index, dropped.key.object, dropped.block
                );
            }
            text
        })
    }

    pub(crate) fn epochs(&self, image: &Path) -> Done {
        let (_, survey) = survey(image)?;
        let checkpoints = survey.checkpoints().iter().map(|kept| {
            json!({
                "epoch": kept.epoch.to_string(), "number": kept.epoch.bits(), "kind": "checkpoint",
                "time_ns": kept.time_ns, "pages": kept.pages, "records": kept.records,
                "bytes": kept.pages.saturating_mul(4096), "used_bytes": u64::from(kept.used_blocks) * 4096,
            })
        });
        let log = survey.log.iter().filter(|epoch| epoch.bootable).map(|epoch| {
            json!({
                "epoch": epoch.epoch.to_string(), "number": epoch.epoch.bits(), "kind": "log",
                "time_ns": epoch.time_ns, "duration_ns": epoch.gathered_ns, "dirty_pages": epoch.pages,
                "records": epoch.records, "bytes": log_bytes(epoch),
            })
        });
        let value = Value::Array(checkpoints.chain(log).collect());
        self.print(&value, || {
            let mut text = String::from("epoch            time s   size KiB       pages   records  gathered in ms\n");
            for kept in survey.checkpoints() {
                let (epoch, time, size) = (kept.epoch.to_string(), seconds(kept.time_ns), kept.pages.saturating_mul(4));
                text += &format!("{epoch:<12} {time:>10.3} {size:>10} {:>11} {:>9}", kept.pages, kept.records);
                text +=
                    &format!("  checkpoint: the whole world; {} KiB in use then\n", u64::from(kept.used_blocks) * 4);
            }
            for epoch in survey.log.iter().filter(|epoch| epoch.bootable) {
                let (name, time, size) = (epoch.epoch.to_string(), seconds(epoch.time_ns), log_bytes(epoch) / 1024);
                let dirty = format!("+{}", epoch.pages);
                text += &format!("{name:<12} {time:>10.3} {size:>10} {dirty:>11} {:>9}", epoch.records);
                text += &format!("  {:.3}\n", epoch.gathered_ns as f64 / 1e6);
            }
            text
        })
    }

    pub(crate) fn ps(&self, image: &Path) -> Done {
        let (epoch, graph) = self.graph_of(image)?;
        let processes: Vec<Value> = graph
            .processes
            .iter()
            .map(|view| {
                let threads: Vec<Value> = view
                    .threads
                    .iter()
                    .map(|(index, thread)| {
                        json!({
                            "thread": index, "state": format!("{:?}", thread.state), "priority": thread.priority,
                            "rip": format!("{:#x}", thread.registers.rip), "waits_on": thread.object,
                        })
                    })
                    .collect();
                json!({
                    "process": view.index, "name": view.name, "capabilities": view.held.len(), "threads": threads,
                })
            })
            .collect();
        let value = json!({ "epoch": epoch.to_string(), "processes": processes, "broken_records": graph.broken });
        self.print(&value, || {
            let mut text =
                format!("epoch {epoch}\nprocess  name            caps  thread  priority  state        rip\n");
            for view in &graph.processes {
                let name = view.name.as_deref().unwrap_or("–");
                let head = format!("{:>7}  {name:<14}  {:>4}", view.index, view.held.len());
                if view.threads.is_empty() {
                    text += &format!("{head}\n");
                }
                for (index, thread) in &view.threads {
                    let state = format!("{:?}", thread.state);
                    text += &format!("{head}  {index:>6}");
                    text += &format!("  {:>8}  {state:<11}  {:#x}\n", thread.priority, thread.registers.rip);
                }
            }
            for (table, index) in &graph.broken {
                text += &format!("record {index} of table {table} is none\n");
            }
            text
        })?;
        Ok(graph.broken.is_empty())
    }

    pub(crate) fn caps(&self, image: &Path, process: u32) -> Done {
        let (epoch, graph) = self.graph_of(image)?;
        let Some(view) = graph.processes.iter().find(|view| view.index == process) else {
            return Err(WorldError::Missing(format!("no process {process} in epoch {epoch}")));
        };
        let rows: Vec<Value> = view
            .held
            .iter()
            .map(|held| {
                let capability = held.capability;
                json!({
                    "position": held.position, "kind": capability.kind().map(|kind| format!("{kind:?}")),
                    "object": capability.object, "generation": capability.generation, "badge": capability.badge,
                    "rights": rights(&capability), "parent": capability.parent, "dying": capability.dying == 1,
                })
            })
            .collect();
        let value = json!({ "epoch": epoch.to_string(), "process": process, "capabilities": rows });
        self.print(&value, || {
            let mut text = format!("process {process} in epoch {epoch}\n");
            text += "position  object                        badge  rights\n";
            for held in &view.held {
                let capability = held.capability;
                let name = |kind| graph.object_name((kind, capability.object));
                let object = capability.kind().map_or_else(String::new, name);
                // Where the null handle points lies who serves the process's memory.
                let position = if held.position == 0 { "faults".into() } else { held.position.to_string() };
                text += &format!("{position:>8}  {object:<28} {:>6}", capability.badge);
                text += &format!("  {}\n", rights(&capability));
            }
            text
        })
    }

    pub(crate) fn graph(&self, image: &Path, dot: bool) -> Done {
        let (epoch, graph) = self.graph_of(image)?;
        let picture = if dot { graph.dot() } else { graph.svg() };
        self.print(&json!({ "epoch": epoch.to_string(), "dot": graph.dot(), "svg": graph.svg() }), || picture)
    }

    pub(crate) fn cat_page(&self, image: &Path, object: u64, index: u64) -> Done {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, self.epoch)?;
        let Some(bytes) = session.page(object, index)? else {
            return Err(WorldError::Missing(format!("object {object:#x} has no page {index}")));
        };
        if self.json {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            return self.print(&json!({ "object": object, "index": index, "bytes": hex }), String::new);
        }
        match std::io::stdout().write_all(&bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(true),
        }
    }
}

fn rights(capability: &kernel_core::Capability) -> String {
    world::rights_text(capability.rights())
}
