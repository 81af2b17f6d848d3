//! A small world, run against the real server: writers and a reader whose state is what a cut saves and a restore brings
//! back. proptest chooses what happens, prints the failing case and how to replay it (`PROPTEST_RNG_SEED`).
//!
//! A program is a function over [`Port`], run again from its start each time with the answers that it has had so far, until it
//! makes a call that has none: that call is what it waits in. So its whole state is the list of its answers, and a cut
//! is a copy of that list.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use abi::Epoch;
use abi::protocol::console::{Answer, CHUNK_BYTES_MAX, Port, Reader, Request, print};
use proptest::prelude::*;

use crate::{Console, Line, World};

const WRITERS: usize = 2;
/// The reader's place among the programs.
const READER: usize = WRITERS;
/// Lengths of the texts that a writer prints.
const TEXTS: [usize; 4] = [30, 150, 56, 57];

/// Each chunk of each text consists of one byte value, so that what is on the line says where it comes from.
fn text(writer: usize, number: usize) -> Vec<u8> {
    let before: usize = TEXTS[..number].iter().map(|length| length.div_ceil(CHUNK_BYTES_MAX)).sum();
    let value = |at: usize| (writer * 100 + before + at / CHUNK_BYTES_MAX + 1) as u8;
    (0..TEXTS[number]).map(value).collect()
}

/// What happened to a program so far, as far as it knows.
#[derive(Clone, Debug, Default)]
struct Program {
    answers: Vec<Answer>,
    dead: bool,
}

/// A program running over its answers.
struct Replay<'a> {
    answers: std::slice::Iter<'a, Answer>,
    made: Vec<Request>,
}

impl Port for Replay<'_> {
    fn call(&mut self, request: &Request) -> Option<Answer> {
        self.made.push(*request);
        self.answers.next().copied()
    }
}

struct Run {
    /// Every request the program has made; the last one waits, unless it has finished.
    made: Vec<Request>,
    /// Texts that it knows to have been printed.
    printed: usize,
    finished: bool,
    /// Bytes that a reader has taken.
    taken: Vec<u8>,
}

impl Program {
    fn run(&self, who: usize) -> Run {
        let mut port = Replay { answers: self.answers.iter(), made: Vec::new() };
        let mut run = Run { made: Vec::new(), printed: 0, finished: false, taken: Vec::new() };
        if who == READER {
            let mut reader = Reader::new();
            let mut bytes = [0; CHUNK_BYTES_MAX];
            while let Ok(count) = reader.read(&mut port, &mut bytes) {
                run.taken.extend(&bytes[..count]);
            }
        } else {
            while run.printed < TEXTS.len() && print(&mut port, &text(who, run.printed)).is_ok() {
                run.printed += 1;
            }
            run.finished = run.printed == TEXTS.len();
        }
        run.made = port.made;
        run
    }

    /// The values of all chunks that it has handed over, or is about to.
    fn handed_over(&self, who: usize) -> Vec<u8> {
        let first = |request: &Request| match request {
            Request::Put { chunk, .. } | Request::Write { chunk, .. } => chunk.bytes().first().copied(),
            Request::Read => None,
        };
        self.run(who).made.iter().filter_map(first).collect()
    }
}

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
    /// Where on the line a restart happened.
    seams: Vec<usize>,
    typed: u8,
}

/// The line.
#[derive(Default)]
struct Wired {
    shown: Vec<u8>,
    arriving: VecDeque<u8>,
    room: usize,
    /// What may be shown: handed over in an epoch that has committed.
    allowed: Vec<u8>,
}

#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Wired>>);

impl Line for Wire {
    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut wired = self.0.borrow_mut();
        let count = bytes.len().min(wired.room).min(16);
        for byte in &bytes[..count] {
            assert!(wired.allowed.contains(byte), "{byte} is shown, and no committed epoch knows of it");
            wired.shown.push(*byte);
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
        let first = EPOCHS_OF_AN_INCARNATION + 1;
        Self {
            cuts: BTreeMap::from([(first - 1, programs.clone())]),
            waits: vec![Waits::Queued; programs.len()],
            programs,
            running: first,
            committed: first - 1,
            life: 0,
            incarnation: 1,
            clock_ns: 1_000_000,
            sneaky: false,
            wire: Wire::default(),
            seams: Vec::new(),
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
        self.seams.push(self.wire.0.borrow().shown.len());
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
        if let (Answer::Done { .. }, true) = (answer, caller.who < WRITERS) {
            let before = self.programs[caller.who].run(caller.who).printed;
            self.programs[caller.who].answers.push(*answer);
            let after = self.programs[caller.who].run(caller.who).printed;
            (before..after).for_each(|number| self.must_be_shown(caller.who, number));
        } else {
            self.programs[caller.who].answers.push(*answer);
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
}

impl Machine {
    /// Nothing lost: what a program believes to be printed is on the line, each chunk whole.
    fn must_be_shown(&self, who: usize, number: usize) {
        let text = text(who, number);
        for chunk in text.chunks(CHUNK_BYTES_MAX) {
            let run = longest_run(&self.wire.0.borrow().shown, chunk[0]);
            assert!(run >= chunk.len(), "writer {who} believes in text {number}, of which {} shows {run}", chunk[0]);
        }
    }
}

fn longest_run(shown: &[u8], value: u8) -> usize {
    shown.chunk_by(|a, b| a == b).filter(|run| run[0] == value).map(<[u8]>::len).max().unwrap_or(0)
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
        let request = run.made.last().expect("it waits in a call");
        self.console.request(&mut self.machine, caller, &request.carry());
    }

    fn turn(&mut self, room: usize) {
        let cut = &self.machine.cuts[&self.machine.committed];
        let allowed = (0..WRITERS).flat_map(|who| cut[who].handed_over(who)).collect();
        let mut wire = self.machine.wire.clone();
        (wire.0.borrow_mut().allowed, wire.0.borrow_mut().room) = (allowed, room);
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
        }
    }

    fn taken(&self) -> Vec<u8> {
        self.machine.programs[READER].run(READER).taken
    }
}

/// What is shown of one writer between two restarts never goes back: no repetition, no disorder.
fn assert_orderly(machine: &Machine) {
    let shown = &machine.wire.0.borrow().shown;
    let mut start = 0;
    for end in machine.seams.iter().copied().chain([shown.len()]) {
        for who in 0..WRITERS {
            let range = (who * 100 + 1) as u8..=(who * 100 + 100) as u8;
            let part: Vec<u8> = shown[start..end].iter().copied().filter(|value| range.contains(value)).collect();
            let runs: Vec<(u8, usize)> = part.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
            assert!(runs.is_sorted_by_key(|run| run.0), "writer {who}: {runs:?}");
            assert!(runs.iter().all(|run| run.1 <= CHUNK_BYTES_MAX), "writer {who} repeats itself: {runs:?}");
        }
        start = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

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
            let program = &simulation.machine.programs[who];
            prop_assert!(program.dead || program.run(who).finished, "writer {} never gets to the end", who);
            if !program.dead {
                (0..TEXTS.len()).for_each(|number| simulation.machine.must_be_shown(who, number));
            }
        }
        assert_orderly(&simulation.machine);
    }

    #[test]
    fn without_a_restart_each_byte_is_shown_once(moves in prop::collection::vec(moves(0), 0..300)) {
        let mut simulation = Simulation::new();
        for step in moves {
            simulation.play(step);
        }
        simulation.finish();
        let shown = simulation.machine.wire.0.borrow().shown.clone();
        for who in 0..WRITERS {
            let range = (who * 100 + 1) as u8..=(who * 100 + 100) as u8;
            let mine: Vec<u8> = shown.iter().copied().filter(|value| range.contains(value)).collect();
            let all: Vec<u8> = (0..TEXTS.len()).flat_map(|number| text(who, number)).collect();
            prop_assert_eq!(mine, all);
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
