//! The commands: what each prints.

use std::io::Write;
use std::path::Path;

use abi::Epoch;
use format::World;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use snapshot_server::{Case, FormatOptions};
use world::{Access, Contents, FileHost, Fsck, Graph, Session, Survey, WorldError, portable};

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

    fn contents(&self, image: &Path, epoch: Option<Epoch>) -> Result<(Epoch, Contents), WorldError> {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, epoch)?;
        let contents = session.contents()?;
        Ok((session.report().epoch, contents))
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
            let mut text = format!(
                "world        {:016x}\nsize         {} blocks, {} MiB\nused         {used} blocks, {percent:.1} %\n",
                survey.world().0,
                geometry.blocks(),
                geometry.blocks() / 256
            );
            text += &format!("epoch        {}\nincarnation  {}", report.epoch, report.incarnation);
            text += &format!(", {} restores without a commit\n", report.restores);
            text += &format!("checkpoints  {}\n", survey.checkpoints().len());
            text += &format!("log          {} descriptors\nopening      {}\n", report.descriptors, cases.join(", "));
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
                "used_blocks": kept.used_blocks,
            })
        });
        let log = survey.log.iter().filter(|epoch| epoch.bootable).map(|epoch| {
            json!({
                "epoch": epoch.epoch.to_string(), "number": epoch.epoch.bits(), "kind": "log",
                "time_ns": epoch.time_ns, "gathered_ns": epoch.gathered_ns, "dirty_pages": epoch.pages,
                "records": epoch.records, "descriptors": epoch.descriptors,
            })
        });
        let value = Value::Array(checkpoints.chain(log).collect());
        self.print(&value, || {
            let mut text = String::from("epoch            time s        pages   records  kind\n");
            for kept in survey.checkpoints() {
                let (epoch, time) = (kept.epoch.to_string(), seconds(kept.time_ns));
                text += &format!("{epoch:<12} {time:>10.3} {:>12} {:>9}  checkpoint", kept.pages, kept.records);
                text += &format!(", {} blocks used\n", kept.used_blocks);
            }
            for epoch in survey.log.iter().filter(|epoch| epoch.bootable) {
                let (name, time) = (epoch.epoch.to_string(), seconds(epoch.time_ns));
                let dirty = format!("+{}", epoch.pages);
                text += &format!("{name:<12} {time:>10.3} {dirty:>12} {:>9}  log", epoch.records);
                text += &format!(", gathered in {:.3} s\n", seconds(epoch.gathered_ns));
            }
            text
        })
    }

    pub(crate) fn ps(&self, image: &Path) -> Done {
        let (epoch, contents) = self.contents(image, self.epoch)?;
        let graph = Graph::new(&contents);
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
                json!({ "process": view.index, "capabilities": view.held.len(), "threads": threads })
            })
            .collect();
        let value = json!({ "epoch": epoch.to_string(), "processes": processes, "broken_records": graph.broken });
        self.print(&value, || {
            let mut text = format!("epoch {epoch}\nprocess  caps  thread  priority  state        rip\n");
            for view in &graph.processes {
                if view.threads.is_empty() {
                    text += &format!("{:>7}  {:>4}\n", view.index, view.held.len());
                }
                for (index, thread) in &view.threads {
                    let state = format!("{:?}", thread.state);
                    text += &format!("{:>7}  {:>4}  {index:>6}", view.index, view.held.len());
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
        let (epoch, contents) = self.contents(image, self.epoch)?;
        let graph = Graph::new(&contents);
        let Some(view) = graph.processes.iter().find(|view| view.index == process) else {
            eprintln!("world: no process {process} in epoch {epoch}");
            return Ok(false);
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
            let mut text = format!("process {process} in epoch {epoch}\nposition  object            badge  rights\n");
            for held in &view.held {
                let capability = held.capability;
                let kind = capability.kind().map_or(String::new(), |kind| format!("{kind:?}"));
                let object = format!("{kind} {}", capability.object);
                text += &format!("{:>8}  {object:<16} {:>6}", held.position, capability.badge);
                text += &format!("  {}\n", rights(&capability));
            }
            text
        })
    }

    pub(crate) fn graph(&self, image: &Path, dot: bool) -> Done {
        let (epoch, contents) = self.contents(image, self.epoch)?;
        let graph = Graph::new(&contents);
        let picture = if dot { graph.dot() } else { graph.svg() };
        self.print(&json!({ "epoch": epoch.to_string(), "dot": graph.dot(), "svg": graph.svg() }), || picture)
    }

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
        let of = |wanted: u16| records.iter().filter(|(table, _)| *table == wanted).count();
        let capabilities = of(abi::record::Table::Capability as u16);
        let value = json!({
            "from": from.to_string(), "to": to.to_string(), "processes_gone": gone, "processes_made": made,
            "capabilities_changed": capabilities, "records_changed": records, "pages_changed": pages,
        });
        self.print(&value, || {
            let mut text = format!("{from} → {to}\nprocesses made {made:?}, gone {gone:?}\n");
            text += &format!("{} records changed, {capabilities} of them capabilities\n", records.len());
            text += &format!("{} pages changed\n", pages.len());
            for (object, index) in pages.iter().take(50) {
                text += &format!("  object {object:#x} page {index}\n");
            }
            text
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

    pub(crate) fn cat_page(&self, image: &Path, object: u64, index: u64) -> Done {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, self.epoch)?;
        let Some(bytes) = session.page(object, index)? else {
            eprintln!("world: object {object:#x} has no page {index}");
            return Ok(false);
        };
        if self.json {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            return self.print(&json!({ "object": object, "index": index, "bytes": hex }), String::new);
        }
        std::io::stdout().write_all(&bytes)?;
        Ok(true)
    }

    pub(crate) fn fsck(&self, image: &Path) -> Done {
        let (mut host, survey) = survey(image)?;
        let expected: u64 = survey.checkpoints().last().map_or(0, |newest| u64::from(newest.used_blocks));
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(expected) };
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks {per_sec}") {
            bar.set_style(style);
        }
        let mut progress = |verified| bar.set_position(verified);
        let (verified, mut problems) = Fsck::run(&mut host, &survey, &mut progress)?;
        bar.finish_and_clear();
        drop(host);
        // And everything that only the newest epoch has, through the store itself.
        let damaged = self.newest_pages(image)?;
        problems.extend(damaged);
        let rows: Vec<Value> = problems
            .iter()
            .map(|problem| {
                json!({
                    "block": problem.block.0, "what": problem.what, "epoch": problem.epoch.to_string(),
                    "object": problem.page.map(|page| page.0), "index": problem.page.map(|page| page.1),
                })
            })
            .collect();
        self.print(&json!({ "verified_blocks": verified, "problems": rows }), || {
            let mut text = format!("{verified} blocks verified, {} problems\n", problems.len());
            for problem in &problems {
                text += &format!("{}: {} (epoch {})", problem.block, problem.what, problem.epoch);
                if let Some((object, index)) = problem.page {
                    text += &format!(", page {index} of object {object:#x}");
                }
                text.push('\n');
            }
            text
        })?;
        Ok(problems.is_empty())
    }

    fn newest_pages(&self, image: &Path) -> Result<Vec<world::Problem>, WorldError> {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, None)?;
        let epoch = session.report().epoch;
        let contents = session.contents()?;
        let mut problems = Vec::new();
        for (object, index) in contents.pages {
            let (block, what) = match session.page(object, index) {
                Err(WorldError::Page(_, _, snapshot_server::ReadError::Wrong(block))) => (block, "a page is damaged"),
                Err(WorldError::Page(_, _, snapshot_server::ReadError::Unreadable(block))) => (block, "unreadable"),
                other => {
                    other?;
                    continue;
                }
            };
            problems.push(world::Problem { block, what, epoch, page: Some((object, index)) });
        }
        Ok(problems)
    }

    pub(crate) fn rewind(&self, image: &Path, to: Epoch) -> Done {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Write, Some(to))?;
        let incarnation = session.begin_incarnation()?;
        let value = json!({ "epoch": to.to_string(), "incarnation": incarnation });
        self.print(&value, || format!("epoch {to} is the newest; incarnation {incarnation} goes on from it\n"))
    }

    pub(crate) fn export(&self, image: &Path, file: &Path) -> Done {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, self.epoch)?;
        let mut out = std::io::BufWriter::new(std::fs::File::create_new(file)?);
        let pages = portable::export(&mut session, &mut out)?;
        out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        let epoch = session.report().epoch.to_string();
        self.print(&json!({ "epoch": epoch, "pages": pages }), || format!("epoch {epoch}: {pages} pages\n"))
    }

    pub(crate) fn import(&self, file: &Path, image: &Path, overwrite: bool) -> Done {
        if !overwrite {
            eprintln!("world: importing overwrites {}; say --overwrite", image.display());
            return Ok(false);
        }
        let mut from = std::io::BufReader::new(std::fs::File::open(file)?);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let formatted_ns = now.as_nanos() as u64;
        // Unlike any other world's: drawn from the clock and this process, mixed.
        let seed = formatted_ns ^ u64::from(std::process::id()) << 32;
        let identity = World((seed ^ seed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9));
        let options = FormatOptions { world: identity, root_slots: 16, segment_blocks: 256, formatted_ns, programs: 0 };
        let mut memory = Session::memory(image)?;
        let mut session = Session::format(&mut memory, image, options)?;
        let pages = portable::import(&mut session, &mut from)?;
        self.print(&json!({ "pages": pages }), || format!("{pages} pages\n"))
    }
}

fn rights(capability: &kernel_core::Capability) -> String {
    world::rights_text(capability.rights())
}
