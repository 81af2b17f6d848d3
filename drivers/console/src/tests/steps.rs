//! The server step by step, where a simulation would not say which step was wrong.

use abi::Epoch;
use abi::protocol::console::{Answer, Chunk, Error, Request};

use crate::{Console, Line, Turn, World};

#[derive(Default)]
struct Around {
    running: u64,
    answers: Vec<(u32, Answer)>,
    gone: Vec<u32>,
    shown: Vec<u8>,
    typed: Vec<u8>,
    room: usize,
}

/// The world's half of it.
struct Inside<'a>(&'a mut Vec<(u32, Answer)>, &'a [u32], u64);

impl World for Inside<'_> {
    type Caller = u32;
    fn answer(&mut self, caller: u32, answer: &Answer) -> bool {
        if self.1.contains(&caller) {
            return false;
        }
        self.0.push((caller, *answer));
        true
    }
    fn running(&mut self) -> Epoch {
        Epoch::from_bits(self.2)
    }
}

/// The line's half.
struct Outside<'a>(&'a mut Vec<u8>, &'a mut Vec<u8>, &'a mut usize);

impl Line for Outside<'_> {
    fn send(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(*self.2);
        *self.2 -= count;
        self.0.extend(&bytes[..count]);
        count
    }
    fn receive(&mut self) -> Option<u8> {
        (!self.1.is_empty()).then(|| self.1.remove(0))
    }
}

impl Around {
    fn new() -> Self {
        Self { running: 10, room: 10_000, ..Self::default() }
    }

    fn ask(&mut self, console: &mut Console<u32>, caller: u32, request: Request) {
        let mut world = Inside(&mut self.answers, &self.gone, self.running);
        console.request(&mut world, caller, &request.carry());
        assert!(console.check());
    }

    fn turn(&mut self, console: &mut Console<u32>, committed: u64) -> Turn {
        let mut world = Inside(&mut self.answers, &self.gone, self.running);
        let mut line = Outside(&mut self.shown, &mut self.typed, &mut self.room);
        let turn = console.turn(&mut world, &mut line, Epoch::from_bits(committed));
        assert!(console.check());
        turn
    }

    fn answered(&mut self) -> Vec<(u32, Answer)> {
        std::mem::take(&mut self.answers)
    }
}

const SESSION: u64 = 5000;
const DONE: Answer = Answer::Done { session: SESSION };

fn console() -> Console<u32> {
    let mut console = Console::new();
    assert!(!console.knows_a_world());
    console.world_began(Epoch::NONE, SESSION);
    console
}

fn put(text: &[u8]) -> Request {
    Request::Put { chunk: Chunk::of(text), session: 0 }
}

fn write(text: &[u8]) -> Request {
    Request::Write { chunk: Chunk::of(text), session: 0 }
}

fn refused(error: Error) -> Answer {
    Answer::Refused { error, session: SESSION }
}

#[test]
fn a_write_waits_for_its_commit_and_asks_for_a_cut() {
    let (mut around, mut console) = (Around::new(), console());
    around.ask(&mut console, 1, write(b"hello"));
    assert!(around.turn(&mut console, 9).want_cut);
    assert!(!around.turn(&mut console, 9).want_cut, "asked once");
    assert_eq!((around.answered(), around.shown.len()), (vec![], 0));
    assert!(!around.turn(&mut console, 10).want_cut);
    assert_eq!((around.answered(), &around.shown[..]), (vec![(1, DONE)], &b"hello"[..]));
}

#[test]
fn a_commit_that_is_not_enough_asks_again() {
    let (mut around, mut console) = (Around::new(), console());
    around.ask(&mut console, 1, write(b"a"));
    around.turn(&mut console, 8);
    assert!(around.turn(&mut console, 9).want_cut, "9 committed, the output waits for 10");
}

#[test]
fn puts_are_answered_at_once_and_shown_before_the_write() {
    let (mut around, mut console) = (Around::new(), console());
    around.ask(&mut console, 1, put(b"one "));
    assert_eq!(around.answered(), [(1, DONE)]);
    assert!(!around.turn(&mut console, 9).want_cut, "nobody waits");
    around.running = 11;
    around.ask(&mut console, 1, Request::Write { chunk: Chunk::of(b"two"), session: SESSION });
    assert!(around.turn(&mut console, 10).want_cut);
    assert_eq!((around.answered(), &around.shown[..]), (vec![], &b"one "[..]), "each by its own epoch");
    around.turn(&mut console, 11);
    assert_eq!((around.answered(), &around.shown[..]), (vec![(1, DONE)], &b"one two"[..]));
}

#[test]
fn a_slow_line_is_waited_for() {
    let (mut around, mut console) = (Around::new(), console());
    around.room = 3;
    around.ask(&mut console, 1, write(b"hello"));
    assert!(around.turn(&mut console, 10).line_busy);
    assert_eq!((around.answered(), &around.shown[..]), (vec![], &b"hel"[..]));
    around.room = 100;
    assert!(!around.turn(&mut console, 10).line_busy);
    assert_eq!((around.answered(), &around.shown[..]), (vec![(1, DONE)], &b"hello"[..]));
}

#[test]
fn puts_of_an_earlier_session_are_forgotten() {
    let (mut around, mut console) = (Around::new(), console());
    around.ask(&mut console, 1, Request::Write { chunk: Chunk::of(b"x"), session: SESSION - 1 });
    around.ask(&mut console, 1, Request::Put { chunk: Chunk::of(b"x"), session: SESSION - 1 });
    assert_eq!(around.answered(), [(1, refused(Error::Forgotten)); 2]);
    around.ask(&mut console, 1, put(b"lost"));
    around.ask(&mut console, 2, write(b"lost too"));
    console.world_began(Epoch::from_bits(9), SESSION + 1);
    around.running = 1 << 40;
    around.turn(&mut console, 10);
    assert_eq!((around.shown.len(), around.answered().len()), (0, 1), "the world will say it again");
    around.ask(&mut console, 1, Request::Write { chunk: Chunk::of(b"x"), session: SESSION });
    assert_eq!(around.answered(), [(1, Answer::Refused { error: Error::Forgotten, session: SESSION + 1 })]);
}

#[test]
fn output_has_an_end_that_leaves_room_for_those_who_wait() {
    let (mut around, mut console) = (Around::new(), console());
    let mut taken = 0;
    loop {
        around.ask(&mut console, 1, put(b"x"));
        match around.answered()[..] {
            [(1, DONE)] => taken += 1,
            [(1, answer)] => {
                assert_eq!(answer, refused(Error::Full));
                break;
            }
            _ => panic!("one answer each"),
        }
    }
    assert_eq!(taken, 128 - 32);
    assert!(around.turn(&mut console, 9).want_cut, "so much that nobody needs to wait for it");
    for caller in 0..32 {
        around.ask(&mut console, caller, write(b"y"));
    }
    assert_eq!(around.answered(), []);
    around.ask(&mut console, 99, write(b"y"));
    assert_eq!(around.answered(), [(99, refused(Error::Full))]);
    for _ in 0..10 {
        around.turn(&mut console, 10);
    }
    assert_eq!((around.answered().len(), around.shown.len()), (32, taken + 32));
}

#[test]
fn readers_are_served_in_order_and_a_dead_one_takes_nothing() {
    let (mut around, mut console) = (Around::new(), console());
    for caller in [1, 2, 3] {
        around.ask(&mut console, caller, Request::Read);
    }
    around.gone.push(1);
    around.typed.extend(b"ab");
    around.turn(&mut console, 9);
    let typed = |number, text| Answer::Typed { number, chunk: Chunk::of(text) };
    assert_eq!(around.answered(), [(2, typed(SESSION, b"ab"))]);
    around.typed.extend(b"c");
    around.turn(&mut console, 9);
    assert_eq!(around.answered(), [(3, typed(SESSION + 2, b"c"))]);
    around.typed.extend(b"d");
    around.turn(&mut console, 9);
    around.ask(&mut console, 4, Request::Read);
    around.turn(&mut console, 9);
    assert_eq!(around.answered(), [(4, typed(SESSION + 3, b"d"))], "what nobody waited for is kept");
}

#[test]
fn input_comes_again_after_a_restore() {
    let (mut around, mut console) = (Around::new(), console());
    let read = |around: &mut Around, console: &mut Console<u32>, text: &[u8], committed| {
        around.typed.extend(text);
        around.ask(console, 1, Request::Read);
        around.turn(console, committed);
        around.answered()
    };
    read(&mut around, &mut console, b"ab", 9);
    around.running = 11;
    read(&mut around, &mut console, b"cd", 10);
    console.world_began(Epoch::from_bits(10), SESSION + 100);
    around.running = 1 << 40;
    let again = read(&mut around, &mut console, b"ef", 10);
    assert_eq!(again, [(1, Answer::Typed { number: SESSION + 2, chunk: Chunk::of(b"cdef") })]);
}

#[test]
fn what_is_typed_before_there_is_a_world_waits_for_it() {
    let (mut around, mut console) = (Around::new(), Console::new());
    around.typed.extend(b"hi");
    around.turn(&mut console, 0);
    console.world_began(Epoch::from_bits(9), SESSION);
    around.ask(&mut console, 1, Request::Read);
    around.turn(&mut console, 9);
    assert_eq!(around.answered(), [(1, Answer::Typed { number: SESSION, chunk: Chunk::of(b"hi") })]);
}

#[test]
fn an_empty_write_is_answered() {
    let (mut around, mut console) = (Around::new(), console());
    around.ask(&mut console, 1, write(b""));
    assert!(around.turn(&mut console, 9).want_cut);
    assert_eq!(around.answered(), []);
    around.turn(&mut console, 10);
    assert_eq!(around.answered(), [(1, DONE)]);
}

#[test]
fn a_clock_that_went_back_only_delays() {
    let (mut around, mut console) = (Around::new(), console());
    around.running = 11;
    around.ask(&mut console, 1, put(b"a"));
    around.running = 10;
    around.ask(&mut console, 1, write(b"b"));
    around.turn(&mut console, 10);
    assert!(around.shown.is_empty());
    around.turn(&mut console, 11);
    assert_eq!(around.shown, b"ab");
}

#[test]
fn readers_of_a_world_that_has_gone_take_no_place() {
    let (mut around, mut console) = (Around::new(), console());
    for caller in 0..16 {
        around.ask(&mut console, caller, Request::Read);
    }
    console.world_began(Epoch::NONE, SESSION + 1);
    around.ask(&mut console, 20, Request::Read);
    around.typed.extend(b"x");
    around.turn(&mut console, 9);
    assert_eq!(around.answered().iter().map(|(caller, _)| *caller).collect::<Vec<_>>(), [20]);
}

/// Commits make room: somebody may type for ever.
#[test]
fn settled_input_makes_room() {
    let (mut around, mut console) = (Around::new(), console());
    for round in 0..500u64 {
        around.typed.extend([b'x'; 50]);
        around.ask(&mut console, 1, Request::Read);
        around.running = 10 + round;
        around.turn(&mut console, 9 + round);
    }
    assert_eq!((around.answered().len(), console.dropped()), (500, 0));
}

#[test]
fn too_many_readers_and_nonsense_are_refused() {
    let (mut around, mut console) = (Around::new(), console());
    for caller in 0..16 {
        around.ask(&mut console, caller, Request::Read);
    }
    around.ask(&mut console, 16, Request::Read);
    assert_eq!(around.answered(), [(16, refused(Error::Full))]);
    let mut world = Inside(&mut around.answers, &[], 10);
    for tag in [0, 4, 0x100 * 57 + 1, 0x103, u64::MAX] {
        console.request(&mut world, 17, &(tag, [0; 8]));
    }
    assert_eq!(around.answered(), [(17, refused(Error::BadRequest)); 5]);
}
