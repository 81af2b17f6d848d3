//! The console's driver as a process: the real server of the port, over a line that is slow and sometimes typed on. What
//! is lent it reads through its own page tables, while others write.
//!
//! The tally shows each number in two pieces of 8 bytes: the number, and the number shifted by [`MARK`].

use crate::actor::Actor;
use crate::board::Role;
use crate::cast::{EVERY, MARK};
use crate::init::LENT;
use crate::shared::Health;
use abi::protocol::console::Answer;
use abi::protocol::lent::{self, LentName};
use abi::{Call, Epoch, Event, Handle, PAGE_SIZE, Timeout};
use console::{Console, Line, World};
use core::sync::atomic::Ordering;
use std::cell::RefCell;
use storesim::Random;

/// Longest time until somebody types what is waited for.
const TYPING_NS_MAX: u64 = 2_000_000;
/// How soon a line that was busy is looked at again.
const LINE_NS: u64 = 5_000;

/// The program.
pub(crate) struct ConsoleProgram {
    server: Console<Handle>,
    /// What has come out of the line and is not a whole piece yet.
    shown: Vec<u8>,
    /// When somebody will type.
    typing_at: Option<u64>,
    /// Calls that it may have in hand.
    asked: u64,
    /// One in so many turns with something in hand it crashes; 0: never.
    dies: u64,
}

impl ConsoleProgram {
    pub(crate) fn new(dies: u64) -> Self {
        Self { server: Console::new(), shown: Vec::new(), typing_at: None, asked: 0, dies }
    }

    pub(crate) fn turn(&mut self, actor: &mut Actor<'_>) {
        if actor.board.shared.console == Health::New {
            *self = Self::new(self.dies);
            actor.bind();
            actor.board.shared.console = Health::Well;
        }
        if !self.server.knows_a_world() && !actor.given().port.is_null() {
            let session = actor.must(Call::Clock, Handle::NULL, |_| {}).words[1] + 1;
            self.server.world_began(actor.board.shared.epochs.restored, session);
        }
        let arrived = actor.arrived();
        if arrived.event == Event::Call {
            let saved = actor.save_reply().expect("room for every caller");
            let ring = ring_of(actor, arrived.cap);
            self.asked += 1;
            let until = actor.board.machine.now() + actor.board.random.below(TYPING_NS_MAX);
            self.typing_at.get_or_insert(until);
            self.server.request(&mut Port(RefCell::new(actor)), saved, &(arrived.tag, arrived.words), ring);
        }
        let busy = self.work(actor);
        if self.crashes(actor) {
            return;
        }
        let now = actor.board.machine.now();
        let timeout = match self.typing_at {
            _ if busy => Timeout::from_ns(LINE_NS),
            Some(at) => Timeout::from_ns(at.saturating_sub(now)),
            None => Timeout::FOREVER,
        };
        actor.wait(actor.given().port, timeout);
    }

    /// Lets the server do what it can; whether the line was busy.
    fn work(&mut self, actor: &mut Actor<'_>) -> bool {
        if !self.server.knows_a_world() {
            return false;
        }
        let committed = actor.board.shared.epochs.committed;
        let mut typed = self.typing_at.is_some_and(|at| at <= actor.board.machine.now());
        if typed {
            self.typing_at = None;
        }
        let random = Random::new(actor.board.random.bits());
        let mut line = SlowLine { random, typed: &mut typed, shown: &mut self.shown };
        let turn = self.server.turn(&mut Port(RefCell::new(actor)), &mut line, committed);
        while self.shown.len() >= 8 {
            let piece: Vec<u8> = self.shown.drain(..8).collect();
            let piece = u64::from_le_bytes(piece.try_into().expect("8 bytes"));
            actor.board.chronicle.show(piece, EVERY, MARK);
        }
        if turn.want_cut {
            actor.ring(Role::Snapshot);
        }
        turn.line_busy
    }

    /// Whether it crashes now. It never comes back from this; init destroys it and makes another one.
    fn crashes(&mut self, actor: &mut Actor<'_>) -> bool {
        let crashes = self.dies > 0 && self.asked > 0 && actor.board.random.below(self.dies) == 0;
        if crashes {
            actor.board.chronicle.figures.console_deaths += 1;
            actor.board.shared.console = Health::Crashed;
            actor.ring(Role::Init);
            actor.stop();
        }
        crashes
    }
}

/// What the capability that came with a call names. It is not kept.
fn ring_of(actor: &mut Actor<'_>, cap: Handle) -> Option<LentName> {
    if cap.is_null() {
        return None;
    }
    let life = actor.board.shared.console_life;
    let port = lent::memory_port(|index| actor.board.shared.lent[index].load(Ordering::Acquire), life);
    let badge = port.and_then(|port| actor.badge_if(cap, port));
    actor.drop(cap);
    badge.and_then(LentName::of_badge)
}

/// The world, as the server reaches into it.
struct Port<'p, 'b>(RefCell<&'p mut Actor<'b>>);

impl World for Port<'_, '_> {
    type Caller = Handle;

    fn answer(&mut self, caller: Handle, answer: &Answer) -> bool {
        let (tag, words) = answer.carry();
        self.0.get_mut().reply(caller, tag, &words, None).is_ok()
    }

    fn running(&mut self) -> Epoch {
        self.0.get_mut().epoch()
    }

    fn lent(&self, place: usize) -> Option<LentName> {
        let shared = &self.0.borrow().board.shared;
        lent::name(|index| shared.lent[index].load(Ordering::Acquire), shared.console_life, place)
    }

    fn word(&self, place: usize, index: usize) -> u64 {
        self.0.borrow_mut().read(LENT + (place * PAGE_SIZE + index * 8) as u64)
    }
}

/// A line that takes as little as it likes.
struct SlowLine<'l> {
    random: Random,
    typed: &'l mut bool,
    shown: &'l mut Vec<u8>,
}

impl Line for SlowLine<'_> {
    fn send(&mut self, bytes: &[u8]) -> usize {
        let count = self.random.within(0, bytes.len() as u64) as usize;
        self.shown.extend_from_slice(&bytes[..count]);
        count
    }

    fn receive(&mut self) -> Option<u8> {
        core::mem::take(self.typed).then(|| self.random.bits() as u8)
    }
}
