//! What shows only when all records of a world are looked at, one after another: by CHECK at each fold, by `world fsck`.
//!
//! A pass sees every record in the order of tables, and remembers in marks what it has seen. Epochs may commit while a
//! pass goes on, and their records are followed. A mark is no more than a witness: what contradicts it is believed only
//! when the record that set it still says the same now, so nothing sound is ever refused; of a witness that has gone,
//! what it hid is found by the next pass. Tables larger than the marks take several passes, a window of them each.
//!
//! Invariants, of the world: (W1) no two processes share slots; a capability lies in a process's slot, and in the null
//! handle's only a memory port; (W2) a call that waits has one Reply at most; (W3) a service has one port, which lives, and there are
//! no more ports than a kernel keeps; (W4) those who wait on an endpoint all send or all receive.

use abi::Kind;
use abi::protocol::service::PORTS_MAX;
use abi::record::Table;
use kernel_core::graph::{Graph, stands};
use kernel_core::{Capability, Endpoint, HANDLES_MIN, Process, State, Thread};

/// Places of a table that one pass has marks for.
const WINDOW: usize = 2048;
const NONE: u32 = u32::MAX;
/// Of a mark for a Reply: a slot holds it, no thread.
const SAVED: u32 = 1 << 31;

/// What records that are sound one by one contradict each other in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// W1: two processes.
    Slots,
    /// W1: another capability than a memory port in the null handle's slot.
    NullHandle,
    /// W1: a capability that no process holds.
    Unheld,
    /// W2.
    Replies,
    /// W3.
    Ports,
    /// W4.
    Waiting,
}

impl Conflict {
    /// It as the end of a sentence about the record with which it was found.
    pub fn text(self) -> &'static str {
        match self {
            Self::Slots => "its capabilities lie where another process has its own",
            Self::NullHandle => "what lies where its null handle points is no memory port",
            Self::Unheld => "a capability that lies in no process's table",
            Self::Replies => "it holds the Reply to a call whose Reply another holds",
            Self::Ports => "its service has another port, or no port can be made of it",
            Self::Waiting => "it waits to send where others wait to receive, or the other way round",
        }
    }
}

/// A pass under way. Starts with [`Self::begin`].
#[derive(Clone, Debug)]
pub struct Whole {
    /// First place of each table that the marks are for.
    first: usize,
    /// The process that was seen last with each chunk of slots.
    slots: [u32; WINDOW],
    /// Who was seen last with the Reply to each thread.
    replies: [u32; WINDOW],
    /// Who was seen last to wait on each endpoint.
    waiting: [u32; WINDOW],
    /// Ports seen: service and endpoint.
    ports: [(u32, u32); PORTS_MAX],
    ports_len: usize,
}

impl Whole {
    /// Nothing seen.
    pub const NEW: Self = Self {
        first: 0,
        slots: [NONE; WINDOW],
        replies: [NONE; WINDOW],
        waiting: [NONE; WINDOW],
        ports: [(0, 0); PORTS_MAX],
        ports_len: 0,
    };

    /// Starts with the first pass.
    pub fn begin(&mut self) {
        self.start(0);
    }

    /// All records were seen. True: they are to be seen once more, for tables of these sizes.
    pub fn next_pass(&mut self, capacities: &[u32; 6]) -> bool {
        let [_, threads, endpoints, .., slots] = *capacities;
        let most = threads.max(endpoints).max(slots / HANDLES_MIN) as usize;
        self.start(self.first + WINDOW);
        self.first < most
    }

    /// Whether this is the first of the passes over all records.
    pub fn is_first_pass(&self) -> bool {
        self.first == 0
    }

    fn start(&mut self, first: usize) {
        self.first = first;
        for marks in [&mut self.slots, &mut self.replies, &mut self.waiting] {
            marks.fill(NONE);
        }
        self.ports_len = 0;
    }

    fn place(&self, number: u32) -> Option<usize> {
        (number as usize).checked_sub(self.first).filter(|place| *place < WINDOW)
    }

    /// The next record of a pass, sound by itself.
    ///
    /// # Errors
    /// What the graph answers for a record that cannot be had: see the same record again.
    pub fn see<G: Graph>(&mut self, graph: &mut G, table: u16, index: u32) -> Result<Option<Conflict>, G::Error> {
        let conflict = self.follow(graph, table, index)?;
        let unheld = table == Table::Capability as u16 && !self.is_held(graph, index)?;
        Ok(conflict.or(unheld.then_some(Conflict::Unheld)))
    }

    /// A record of an epoch that is complete, sound by itself, while a pass goes on.
    ///
    /// # Errors
    /// As [`Self::see`].
    pub fn follow<G: Graph>(&mut self, graph: &mut G, table: u16, index: u32) -> Result<Option<Conflict>, G::Error> {
        const PROCESS: u16 = Table::Process as u16;
        const THREAD: u16 = Table::Thread as u16;
        const ENDPOINT: u16 = Table::Endpoint as u16;
        const CAPABILITY: u16 = Table::Capability as u16;
        match table {
            PROCESS => self.process(graph, index),
            THREAD => self.thread(graph, index),
            ENDPOINT => self.endpoint(graph, index),
            CAPABILITY => {
                let reply = saved(&graph.capability(index)?);
                self.reply(graph, reply, SAVED | index)
            }
            _ => Ok(None),
        }
    }

    fn process<G: Graph>(&mut self, graph: &mut G, index: u32) -> Result<Option<Conflict>, G::Error> {
        let process = graph.process(index)?;
        if !process.exists() {
            return Ok(None);
        }
        let first = process.slots / HANDLES_MIN;
        for chunk in first..first + process.slot_count / HANDLES_MIN {
            let Some(place) = self.place(chunk) else { continue };
            let other = self.slots[place];
            if other != NONE && other != index && has(&graph.process(other)?, chunk) {
                return Ok(Some(Conflict::Slots));
            }
            self.slots[place] = index;
        }
        let port = graph.capability(process.slots)?.is_memory_port();
        Ok((!port).then_some(Conflict::NullHandle))
    }

    /// Whether what lies in a slot, if anything, lies in a process's. Processes have been seen.
    fn is_held<G: Graph>(&mut self, graph: &mut G, slot: u32) -> Result<bool, G::Error> {
        let chunk = slot / HANDLES_MIN;
        let Some(place) = self.place(chunk) else { return Ok(true) };
        if graph.capability(slot)?.kind().is_none() {
            return Ok(true);
        }
        let holder = self.slots[place];
        Ok(holder != NONE && has(&graph.process(holder)?, chunk))
    }

    fn thread<G: Graph>(&mut self, graph: &mut G, index: u32) -> Result<Option<Conflict>, G::Error> {
        let thread = graph.thread(index)?;
        if let Some(sends) = sends(&thread)
            && let Some(place) = self.place(thread.object)
        {
            let other = self.waiting[place];
            if other != NONE && other != index {
                let other = graph.thread(other)?;
                if other.object == thread.object && self::sends(&other) == Some(!sends) {
                    return Ok(Some(Conflict::Waiting));
                }
            }
            self.waiting[place] = index;
        }
        self.reply(graph, serving(&thread), index)
    }

    /// A Reply, if it is one, in the hands of `holder`.
    fn reply<G: Graph>(
        &mut self,
        graph: &mut G,
        reply: Option<(u32, u32)>,
        holder: u32,
    ) -> Result<Option<Conflict>, G::Error> {
        let Some((caller, sequence)) = reply else { return Ok(None) };
        let Some(place) = self.place(caller) else { return Ok(None) };
        if !stands(&graph.thread(caller)?, sequence) {
            return Ok(None);
        }
        let other = self.replies[place];
        if other != NONE && other != holder {
            let held = match other & SAVED {
                0 => serving(&graph.thread(other)?),
                _ => saved(&graph.capability(other & !SAVED)?),
            };
            if held == reply {
                return Ok(Some(Conflict::Replies));
            }
        }
        self.replies[place] = holder;
        Ok(None)
    }

    fn endpoint<G: Graph>(&mut self, graph: &mut G, index: u32) -> Result<Option<Conflict>, G::Error> {
        let Endpoint { service, life, .. } = graph.endpoint(index)?;
        let mut position = 0;
        while let Some(&(known, other)) = self.ports[..self.ports_len].get(position) {
            // Of those that matter, what has changed since it was seen is forgotten.
            let gone = other == index || service != 0 && graph.endpoint(other)?.service != known;
            if gone {
                self.ports_len -= 1;
                self.ports[position] = self.ports[self.ports_len];
            } else {
                position += 1;
            }
        }
        if service == 0 {
            return Ok(None);
        }
        let taken = self.ports[..self.ports_len].iter().any(|(known, _)| *known == service);
        if life == 0 || taken || self.ports_len == PORTS_MAX {
            return Ok(Some(Conflict::Ports));
        }
        self.ports[self.ports_len] = (service, index);
        self.ports_len += 1;
        Ok(None)
    }
}

/// Whether a chunk of slots is a process's.
fn has(process: &Process, chunk: u32) -> bool {
    let first = process.slots / HANDLES_MIN;
    (first..first + process.slot_count / HANDLES_MIN).contains(&chunk)
}

/// Whether a thread waits on an endpoint to send, or to receive; `None`: it waits on none.
fn sends(thread: &Thread) -> Option<bool> {
    match thread.state {
        State::Calling | State::Sending | State::Faulting => Some(true),
        State::Receiving => Some(false),
        _ => None,
    }
}

/// The Reply that a thread holds: to which thread, and to which of its calls.
fn serving(thread: &Thread) -> Option<(u32, u32)> {
    (thread.serving != NONE).then_some((thread.serving, thread.serving_sequence))
}

/// The Reply that lies in a slot.
fn saved(capability: &Capability) -> Option<(u32, u32)> {
    (capability.kind() == Some(Kind::Reply)).then_some((capability.object, capability.generation))
}
