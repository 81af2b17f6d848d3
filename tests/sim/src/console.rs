//! The console's server: what it is asked to show reaches the outside when the epoch in which it read the request is
//! durable, and only then is it answered (law 5). Requests to hold are answered some time later.

use crate::actor::Actor;
use crate::board::Role;
use crate::cast::{EVERY, HOLD, SHOW};
use crate::shared::Health;
use abi::{Epoch, Event, Handle, Timeout};

/// Longest a call is held.
const HOLD_NS_MAX: u64 = 2_000_000;

/// Numbers that wait to be shown, and calls that are held.
#[derive(Default)]
pub(crate) struct Console {
    waiting: Vec<(Handle, u64, Epoch)>,
    held: Vec<(Handle, u64)>,
    /// One in so many turns with something in hand it crashes; 0: never.
    dies: u64,
}

impl Console {
    pub(crate) fn new(dies: u64) -> Self {
        Self { dies, ..Self::default() }
    }

    pub(crate) fn turn(&mut self, actor: &mut Actor<'_>) {
        if actor.board.shared.console == Health::New {
            *self = Self::new(self.dies);
            actor.bind();
            actor.board.shared.console = Health::Well;
        }
        let arrived = actor.arrived();
        if arrived.event == Event::Call {
            let saved = actor.save_reply().expect("room for every caller");
            match arrived.tag {
                SHOW => {
                    let epoch = actor.epoch();
                    self.waiting.push((saved, arrived.words[0], epoch));
                    actor.ring(Role::Snapshot);
                }
                HOLD => {
                    let until = actor.board.machine.now() + actor.board.random.below(HOLD_NS_MAX);
                    self.held.push((saved, until));
                }
                tag => panic!("the console is asked for {tag}"),
            }
        }
        self.show(actor);
        self.release(actor);
        let in_hand = !self.waiting.is_empty() || !self.held.is_empty();
        if self.dies > 0 && in_hand && actor.board.random.below(self.dies) == 0 {
            actor.board.chronicle.figures.console_deaths += 1;
            actor.board.shared.console = Health::Crashed;
            actor.ring(Role::Init);
            // It never comes back from this; init destroys it.
            actor.stop();
            return;
        }
        let now = actor.board.machine.now();
        let next = self.held.iter().map(|&(_, until)| until.saturating_sub(now)).min();
        actor.wait(actor.given().port, next.map_or(Timeout::FOREVER, Timeout::from_ns));
    }

    fn show(&mut self, actor: &mut Actor<'_>) {
        let committed = actor.board.shared.epochs.committed;
        let durable = |&(_, _, epoch): &(Handle, u64, Epoch)| epoch <= committed;
        let (shown, waiting) = core::mem::take(&mut self.waiting).into_iter().partition(durable);
        self.waiting = waiting;
        let shown: Vec<(Handle, u64, Epoch)> = shown;
        for (caller, number, _) in shown {
            actor.board.chronicle.show(number, EVERY);
            actor.reply(caller, 0, &[], None).expect("the caller waits");
        }
    }

    fn release(&mut self, actor: &mut Actor<'_>) {
        let now = actor.board.machine.now();
        while let Some(at) = self.held.iter().position(|&(_, until)| until <= now) {
            let (caller, _) = self.held.swap_remove(at);
            actor.reply(caller, 0, &[], None).expect("the caller waits");
        }
    }
}
