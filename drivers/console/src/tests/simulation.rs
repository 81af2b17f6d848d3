//! A small world, run against the real server: writers and a reader whose state is what a cut saves and a restore brings
//! back. proptest chooses what happens, prints the failing case and how to replay it (`PROPTEST_RNG_SEED`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use abi::Epoch;
use abi::protocol::console::Answer;
use abi::protocol::lent::LentName;
use proptest::prelude::*;

use super::programs::{Program, READER, TEXTS, WRITERS, byte_at, end_of};
use crate::{Console, Line, World};

/// A call by its number: who made it, and in which life of the world and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Caller {
    who: usize,
    life: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// The call has not been received.
    Queued,
    /// The server has it.
    Received,
}

struct Machine {
    programs: Vec<Program>,
    /// Their rings, as they lie in the world now.
    pages: Vec<Vec<u64>>,
    waits: Vec<Waits>,
    /// What was cut, by the epoch that ended.
    cuts: BTreeMap<u64, Vec<Program>>,
    running: u64,
    committed: u64,
    /// Counts lives of world and server: Replies of an earlier one are void.
    life: u64,
    incarnation: u64,
    clock_ns: u64,
    /// The next look at the epoch comes just after a cut.
    sneaky: bool,
    wire: Wire,
    typed: u8,
}

/// What has come out of one writer's ring.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Index of the byte that comes next.
    next: u64,
    /// Everything below has been seen.
    covered: u64,
    /// What may be shown: published in an epoch that has committed.
    allowed: u64,
    /// Bytes seen, repeated ones counted again.
    count: u64,
}

/// The line.
#[derive(Default)]
struct Wired {
    seen: [Seen; WRITERS],
    arriving: VecDeque<u8>,
    room: usize,
}

#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Wired>>);

impl Line for Wire {
    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut wired = self.0.borrow_mut();
        let count = bytes.len().min(wired.room).min(16);
        for byte in &bytes[..count] {
            let who = usize::from(byte / 100);
            let seen = &mut wired.seen[who];
            assert_eq!(*byte, byte_at(who, seen.next), "byte {} of writer {who}", seen.next);
            assert!(seen.next < seen.allowed, "byte {} of writer {who} is early", seen.next);
            seen.next += 1;
            seen.count += 1;
            seen.covered = seen.covered.max(seen.next);
        }
        wired.room -= count;
        count
    }

    fn receive(&mut self) -> Option<u8> {
        self.0.borrow_mut().arriving.pop_front()
    }
}

const EPOCHS_OF_AN_INCARNATION: u64 = 1 << 40;

impl Machine {
    fn new() -> Self {
        let programs = vec![Program::default(); WRITERS + 1];
        let pages = programs.iter().enumerate().map(|(who, program)| program.run(who).page).collect();
        let first = EPOCHS_OF_AN_INCARNATION + 1;
        Self {
            cuts: BTreeMap::from([(first - 1, programs.clone())]),
            waits: vec![Waits::Queued; programs.len()],
            programs,
            pages,
            running: first,
            committed: first - 1,
            life: 0,
            incarnation: 1,
            clock_ns: 1_000_000,
            sneaky: false,
            wire: Wire::default(),
            typed: 0,
        }
    }

    fn cut(&mut self) {
        self.cuts.insert(self.running, self.programs.clone());
        self.running += 1;
    }

    fn commit(&mut self) {
        self.committed = *self.cuts.keys().next_back().expect("the one it began with");
    }

    fn session(&mut self) -> u64 {
        self.clock_ns += 1_000_000;
        self.clock_ns
    }

    /// All calls that the server had are made again: they were marked repeatable.
    fn calls_are_queued_again(&mut self) {
        self.life += 1;
        self.waits.fill(Waits::Queued);
        for who in 0..WRITERS {
            let run = self.programs[who].run(who);
            let seen = &mut self.wire.0.borrow_mut().seen[who];
            // Repeated perhaps, never lost.
            assert!(run.shown <= seen.covered, "writer {who} believes that {} was shown", run.shown);
            seen.next = run.shown;
            self.pages[who] = run.page;
        }
    }

    fn go_back(&mut self) {
        self.cuts.retain(|epoch, _| *epoch <= self.committed);
        self.programs = self.cuts[&self.committed].clone();
        self.incarnation += 1;
        self.running = self.incarnation * EPOCHS_OF_AN_INCARNATION + 1;
        self.calls_are_queued_again();
    }
}

impl World for Machine {
    type Caller = Caller;

    fn answer(&mut self, caller: Caller, answer: &Answer) -> bool {
        if caller.life != self.life || self.programs[caller.who].dead {
            return false;
        }
        assert!(!matches!(answer, Answer::Refused(_)), "{caller:?} is refused: {answer:?}");
        self.programs[caller.who].answers.push(*answer);
        let run = self.programs[caller.who].run(caller.who);
        if caller.who < WRITERS {
            let covered = self.wire.0.borrow().seen[caller.who].covered;
            assert!(end_of(run.printed) <= covered, "{caller:?} believes in {} texts", run.printed);
            self.pages[caller.who] = run.page;
        }
        self.waits[caller.who] = Waits::Queued;
        true
    }

    fn running(&mut self) -> Epoch {
        if std::mem::take(&mut self.sneaky) {
            self.cut();
        }
        Epoch::from_bits(self.running)
    }

    fn lent(&self, place: usize) -> Option<LentName> {
        (place < WRITERS).then(|| name_of(place))
    }

    fn word(&self, place: usize, index: usize) -> u64 {
        self.pages[place][index]
    }
}

/// A writer's ring.
fn name_of(who: usize) -> LentName {
    LentName::of_object(who as u32)
}

#[derive(Clone, Copy, Debug)]
enum Move {
    /// The server receives the call of a program.
    Receive(usize),
    Turn {
        room: usize,
    },
    Cut,
    /// The next look at the epoch comes just after a cut.
    SneakyCut,
    Commit,
    Type(u8),
    /// A writer dies.
    Die(usize),
    ServerDies,
    WorldRestored,
    MachineDies,
}

fn moves(deaths: u32) -> impl Strategy<Value = Move> {
    prop_oneof![
        20 => (0..=WRITERS).prop_map(Move::Receive),
        20 => prop_oneof![Just(1000usize), 0..40usize].prop_map(|room| Move::Turn { room }),
        6 => Just(Move::Cut),
        2 => Just(Move::SneakyCut),
        6 => Just(Move::Commit),
        6 => (0..10u8).prop_map(Move::Type),
        deaths => prop_oneof![
            Just(Move::ServerDies),
            Just(Move::WorldRestored),
            Just(Move::WorldRestored),
            Just(Move::MachineDies),
            (0..WRITERS).prop_map(Move::Die),
        ],
    ]
}

struct Simulation {
    machine: Machine,
    console: Console<Caller>,
    server_died: bool,
}

impl Simulation {
    fn new() -> Self {
        let mut machine = Machine::new();
        let mut console = Console::new();
        console.world_began(Epoch::from_bits(machine.committed), machine.session());
        Self { machine, console, server_died: false }
    }

    fn receive(&mut self, who: usize) {
        let run = self.machine.programs[who].run(who);
        if self.machine.programs[who].dead || run.finished || self.machine.waits[who] == Waits::Received {
            return;
        }
        self.machine.waits[who] = Waits::Received;
        let caller = Caller { who, life: self.machine.life };
        let request = run.waits.expect("it waits in a call");
        let ring = (who < WRITERS).then(|| name_of(who));
        self.console.request(&mut self.machine, caller, &request.carry(), ring);
    }

    fn turn(&mut self, room: usize) {
        let cut = &self.machine.cuts[&self.machine.committed];
        let allowed: Vec<u64> = (0..WRITERS).map(|who| cut[who].run(who).written).collect();
        let mut wire = self.machine.wire.clone();
        wire.0.borrow_mut().room = room;
        for (seen, allowed) in wire.0.borrow_mut().seen.iter_mut().zip(allowed) {
            seen.allowed = allowed;
        }
        let committed = Epoch::from_bits(self.machine.committed);
        self.console.turn(&mut self.machine, &mut wire, committed);
        assert!(self.console.check());
    }

    fn play(&mut self, step: Move) {
        match step {
            Move::Receive(who) => self.receive(who),
            Move::Turn { room } => self.turn(room),
            Move::Cut => self.machine.cut(),
            Move::SneakyCut => self.machine.sneaky = true,
            Move::Commit => self.machine.commit(),
            Move::Type(count) => {
                for _ in 0..count {
                    self.machine.typed = self.machine.typed.wrapping_add(1);
                    self.machine.wire.0.borrow_mut().arriving.push_back(self.machine.typed);
                }
            }
            Move::Die(who) => self.machine.programs[who].dead = true,
            Move::ServerDies => {
                self.machine.calls_are_queued_again();
                self.new_server();
            }
            Move::WorldRestored => {
                self.machine.go_back();
                let session = self.machine.session();
                self.console.world_began(Epoch::from_bits(self.machine.committed), session);
            }
            Move::MachineDies => {
                self.machine.go_back();
                self.new_server();
            }
        }
    }

    fn new_server(&mut self) {
        self.console = Console::new();
        self.console.world_began(Epoch::from_bits(self.machine.committed), self.machine.session());
        self.server_died = true;
        self.machine.wire.0.borrow_mut().arriving.clear();
    }

    /// Nothing bad happens any more: everybody who lives gets to the end.
    fn finish(&mut self) {
        for _ in 0..400 {
            for who in 0..=WRITERS {
                self.receive(who);
            }
            self.turn(1000);
            self.machine.cut();
            self.machine.commit();
            if self.is_done() {
                break;
            }
        }
        // What was typed in the last turn is taken in another one.
        for _ in 0..10 {
            self.receive(READER);
            self.turn(1000);
        }
    }

    /// Nobody has anything more to say.
    fn is_done(&self) -> bool {
        let wired = self.machine.wire.0.borrow();
        let done = |who: usize| {
            let run = self.machine.programs[who].run(who);
            (run.finished || self.machine.programs[who].dead) && wired.seen[who].covered == run.written
        };
        wired.arriving.is_empty() && (0..WRITERS).all(done)
    }

    fn taken(&self) -> Vec<u8> {
        self.machine.programs[READER].run(READER).taken
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// The line itself checks that each byte is the next one, and not early; a restart sets back what is next.
    #[test]
    fn output_is_never_early_never_lost_and_repeated_only_after_a_restart(
        moves in prop::collection::vec(moves(2), 0..300),
    ) {
        let mut simulation = Simulation::new();
        for step in moves {
            simulation.play(step);
        }
        simulation.finish();
        for who in 0..WRITERS {
            let run = simulation.machine.programs[who].run(who);
            let dead = simulation.machine.programs[who].dead;
            prop_assert!(dead || run.finished, "writer {} never gets to the end", who);
            // Its ring is there after the writer itself has died.
            prop_assert_eq!(simulation.machine.wire.0.borrow().seen[who].covered, run.written);
        }
    }

    #[test]
    fn without_a_restart_each_byte_is_shown_once(moves in prop::collection::vec(moves(0), 0..300)) {
        let mut simulation = Simulation::new();
        for step in moves {
            simulation.play(step);
        }
        simulation.finish();
        for seen in simulation.machine.wire.0.borrow().seen {
            prop_assert_eq!((seen.count, seen.covered), (end_of(TEXTS.len()), end_of(TEXTS.len())));
        }
        let typed: Vec<u8> = (1..=simulation.machine.typed).collect();
        prop_assert_eq!(simulation.taken(), typed);
    }

    /// Input: nothing is taken twice; nothing is lost unless the server died.
    #[test]
    fn input_is_taken_once_and_lost_only_with_the_server(moves in prop::collection::vec(moves(2), 0..300)) {
        let mut simulation = Simulation::new();
        for step in moves {
            // Numbers of one byte tell 255 bytes apart.
            if simulation.machine.typed < 240 {
                simulation.play(step);
            }
        }
        simulation.finish();
        let taken = simulation.taken();
        prop_assert!(taken.is_sorted_by(|a, b| a < b), "{:?}", taken);
        if !simulation.server_died {
            let typed: Vec<u8> = (1..=simulation.machine.typed).collect();
            prop_assert_eq!(taken, typed);
        }
    }
}
