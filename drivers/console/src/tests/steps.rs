//! The server step by step, where a simulation would not say which step was wrong.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Epoch;
use abi::protocol::console::{Answer, Chunk, Error, RING_BYTES, Request, RingWriter};
use abi::protocol::lent::{LentName, PLACES};

use crate::output::TAKEN_MAX;
use crate::{Console, Line, Turn, World};

/// Words of a page.
const WORDS: usize = 512;

/// A ring of the world: its page never moves, as on the machine.
struct Ring {
    page: &'static [AtomicU64],
    writer: RingWriter<'static>,
    name: LentName,
}

impl Ring {
    fn new(object: u32) -> Self {
        let page: &'static [AtomicU64] = Vec::leak((0..WORDS).map(|_| AtomicU64::new(0)).collect());
        let writer = RingWriter::new(page).expect("a page");
        Self { page, writer, name: LentName::of_object(object) }
    }

    fn put(&mut self, text: &[u8]) {
        assert_eq!(self.writer.append(text), text.len());
        self.writer.publish();
    }
}

#[derive(Default)]
struct Around {
    running: u64,
    lent: [Option<(LentName, &'static [AtomicU64])>; PLACES],
    answers: Vec<(u32, Answer)>,
    gone: Vec<u32>,
    shown: Vec<u8>,
    typed: Vec<u8>,
    room: usize,
    slip: Slip,
}

/// What happens in the middle: when the write index is about to be read there is a cut, and then a program puts this.
#[derive(Default)]
struct Slip {
    puts: RefCell<Option<(RingWriter<'static>, &'static [u8])>>,
    cuts: Cell<u64>,
}

impl Slip {
    fn happen(&self) {
        if let Some((mut writer, text)) = self.puts.take() {
            self.cuts.set(self.cuts.get() + 1);
            assert_eq!(writer.append(text), text.len());
            writer.publish();
        }
    }
}

/// The world's half of it.
struct Inside<'a> {
    answers: &'a mut Vec<(u32, Answer)>,
    gone: &'a [u32],
    running: u64,
    lent: &'a [Option<(LentName, &'static [AtomicU64])>; PLACES],
    slip: &'a Slip,
}

impl World for Inside<'_> {
    type Caller = u32;
    fn answer(&mut self, caller: u32, answer: &Answer) -> bool {
        if self.gone.contains(&caller) {
            return false;
        }
        self.answers.push((caller, *answer));
        true
    }
    fn running(&mut self) -> Epoch {
        Epoch::from_bits(self.running + self.slip.cuts.get())
    }
    fn lent(&self, place: usize) -> Option<LentName> {
        self.lent[place].map(|(name, _)| name)
    }
    fn word(&self, place: usize, index: usize) -> u64 {
        if index == 0 {
            self.slip.happen();
        }
        self.lent[place].map_or(0, |(_, page)| page[index].load(Ordering::Acquire))
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
        Self { running: 10, room: 100_000, ..Self::default() }
    }

    fn lend(&mut self, place: usize, ring: &Ring) {
        self.lent[place] = Some((ring.name, ring.page));
    }

    fn ask_with(&mut self, console: &mut Console<u32>, caller: u32, request: Request, ring: Option<LentName>) {
        let Self { answers, gone, running, lent, slip, .. } = self;
        let mut world = Inside { answers, gone, running: *running, lent, slip };
        console.request(&mut world, caller, &request.carry(), ring);
        assert!(console.check());
    }

    fn ask(&mut self, console: &mut Console<u32>, caller: u32, request: Request) {
        self.ask_with(console, caller, request, None);
    }

    fn show(&mut self, console: &mut Console<u32>, caller: u32, ring: &Ring, until: u64) {
        self.ask_with(console, caller, Request::Show { until }, Some(ring.name));
    }

    fn turn(&mut self, console: &mut Console<u32>, committed: u64) -> Turn {
        let Self { answers, gone, running, lent, slip, .. } = self;
        let mut world = Inside { answers, gone, running: *running, lent, slip };
        let mut line = Outside(&mut self.shown, &mut self.typed, &mut self.room);
        let turn = console.turn(&mut world, &mut line, Epoch::from_bits(committed));
        assert!(console.check());
        turn
    }

    fn answered(&mut self) -> Vec<(u32, Answer)> {
        std::mem::take(&mut self.answers)
    }

    fn shown(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.shown)
    }
}

/// Number of the first byte that is typed.
const SESSION: u64 = 5000;

fn console() -> Console<u32> {
    let mut console = Console::new();
    assert!(!console.knows_a_world());
    console.world_began(Epoch::NONE, SESSION);
    console
}

/// A server, and a ring that is lent to it.
fn with_ring() -> (Around, Console<u32>, Ring) {
    let (mut around, ring) = (Around::new(), Ring::new(1));
    around.lend(3, &ring);
    (around, console(), ring)
}

fn below(below: u64) -> Answer {
    Answer::Shown { below }
}

fn refused(error: Error) -> Answer {
    Answer::Refused(error)
}

#[test]
fn output_waits_for_its_commit_and_asks_for_a_cut() {
    let (mut around, mut console, mut ring) = with_ring();
    ring.put(b"hello");
    around.show(&mut console, 1, &ring, 5);
    assert!(around.turn(&mut console, 9).want_cut);
    assert!(!around.turn(&mut console, 9).want_cut, "asked once");
    assert_eq!((around.answered(), around.shown().len()), (vec![], 0));
    assert!(!around.turn(&mut console, 10).want_cut);
    assert_eq!((around.answered(), around.shown()), (vec![(1, below(5))], b"hello".to_vec()));
}

#[test]
fn a_commit_that_is_not_enough_asks_again() {
    let (mut around, mut console, mut ring) = with_ring();
    ring.put(b"a");
    around.turn(&mut console, 8);
    assert!(around.turn(&mut console, 9).want_cut, "9 committed, the output waits for 10");
}

#[test]
fn who_does_not_wait_is_answered_at_once_and_shown_all_the_same() {
    let (mut around, mut console, mut ring) = with_ring();
    ring.put(b"one ");
    around.show(&mut console, 1, &ring, 0);
    assert_eq!(around.answered(), [(1, below(0))]);
    around.running = 11;
    ring.put(b"two");
    around.show(&mut console, 1, &ring, 0);
    assert!(around.turn(&mut console, 9).want_cut, "output waits, if nobody else does");
    assert!(around.turn(&mut console, 10).want_cut, "the rest waits for another epoch");
    assert_eq!(around.shown(), b"one ");
    around.show(&mut console, 1, &ring, 0);
    assert_eq!(around.answered(), [(1, below(0)), (1, below(4))]);
    around.turn(&mut console, 11);
    assert_eq!(around.shown(), b"two");
}

/// Law 5 against a program that changes what it has published: what comes out is what the committed epoch held.
#[test]
fn what_is_changed_after_it_was_taken_does_not_come_out() {
    let (mut around, mut console, mut ring) = with_ring();
    ring.put(b"early");
    around.turn(&mut console, 9);
    around.running = 11;
    let word = &ring.page[8];
    word.store(u64::from_le_bytes(*b"LATER!!!"), Ordering::Release);
    around.turn(&mut console, 10);
    assert_eq!(around.shown(), b"early");
}

/// Law 5: the epoch is asked for after the bytes, or a cut between the two would let out what came after it.
#[test]
fn what_a_cut_comes_before_waits_for_the_epoch_after_it() {
    let (mut around, mut console, ring) = with_ring();
    *around.slip.puts.borrow_mut() = Some((ring.writer, b"after the cut"));
    around.turn(&mut console, 9);
    assert_eq!(around.slip.cuts.get(), 1, "it was put in the middle of the turn");
    around.turn(&mut console, 10);
    assert_eq!(around.shown(), b"", "epoch 10 does not know of it");
    around.turn(&mut console, 11);
    assert_eq!(around.shown(), b"after the cut");
}

#[test]
fn a_slow_line_is_waited_for() {
    let (mut around, mut console, mut ring) = with_ring();
    around.room = 3;
    ring.put(b"hello");
    around.show(&mut console, 1, &ring, 5);
    assert!(around.turn(&mut console, 10).line_busy);
    assert_eq!((around.answered(), &around.shown[..]), (vec![], &b"hel"[..]));
    around.room = 100;
    assert!(!around.turn(&mut console, 10).line_busy);
    assert_eq!((around.answered(), &around.shown[..]), (vec![(1, below(5))], &b"hello"[..]));
}

#[test]
fn a_new_server_goes_on_where_the_program_knows_that_it_was_shown() {
    let (mut around, mut first, mut ring) = with_ring();
    ring.put(b"shown, ");
    around.turn(&mut first, 10);
    around.show(&mut first, 1, &ring, 0);
    let [(1, Answer::Shown { below: known })] = around.answered()[..] else { panic!("answered at once") };
    ring.put(b"shown and not known, ");
    around.running = 11;
    around.turn(&mut first, 11);
    ring.writer.learn(known);
    ring.put(b"not shown");
    around.shown();
    // Nobody calls it.
    let mut second = console();
    assert!(around.turn(&mut second, 10).want_cut);
    around.turn(&mut second, 11);
    assert_eq!(around.shown(), b"shown and not known, not shown");
}

#[test]
fn a_world_that_was_restored_says_again_what_was_taken() {
    let (mut around, mut console, mut ring) = with_ring();
    ring.put(b"again");
    around.show(&mut console, 1, &ring, 5);
    around.turn(&mut console, 9);
    console.world_began(Epoch::from_bits(9), SESSION + 1);
    around.running = 1 << 40;
    around.turn(&mut console, 10);
    assert_eq!((around.shown().len(), around.answered().len()), (0, 0), "taken by then, in a later epoch");
    around.turn(&mut console, 1 << 40);
    assert_eq!(around.shown(), b"again");
    assert_eq!(around.answered(), [], "who waited is not there any more");
}

#[test]
fn rings_take_turns_and_are_not_mixed() {
    let (mut around, mut console, mut one) = with_ring();
    let mut two = Ring::new(2);
    around.lend(7, &two);
    let (ones, twos) = ([b'1'; RING_BYTES], [b'2'; 100]);
    one.put(&ones);
    two.put(&twos);
    around.room = 10;
    around.turn(&mut console, 10);
    around.room = 100_000;
    around.turn(&mut console, 10);
    assert_eq!(&around.shown[..TAKEN_MAX], &ones[..TAKEN_MAX]);
    assert_eq!(&around.shown[TAKEN_MAX..TAKEN_MAX + 100], &twos);
    for _ in 0..RING_BYTES.div_ceil(TAKEN_MAX) {
        around.turn(&mut console, 10);
    }
    assert_eq!(around.shown.len(), RING_BYTES + 100);
}

#[test]
fn one_caller_waits_for_a_ring() {
    let (mut around, mut console, mut ring) = with_ring();
    ring.put(b"abc");
    around.show(&mut console, 1, &ring, 3);
    around.show(&mut console, 2, &ring, 3);
    assert_eq!(around.answered(), [(1, below(0))], "not yet, but it is not the one that waits");
    around.turn(&mut console, 10);
    assert_eq!(around.answered(), [(2, below(3))]);
}

#[test]
fn what_is_not_lent_is_not_waited_for() {
    let (mut around, mut console, ring) = with_ring();
    let foreign = Ring::new(2);
    around.show(&mut console, 1, &foreign, 0);
    around.ask(&mut console, 2, Request::Show { until: 0 });
    assert_eq!(around.answered(), [1, 2].map(|caller| (caller, refused(Error::NotLent))));
    // Lent a moment ago; the table says so, and it is looked at.
    around.lend(0, &foreign);
    around.show(&mut console, 1, &foreign, 0);
    assert_eq!(around.answered(), [(1, below(0))]);
    // An object that is destroyed: who waits is told, and what was taken comes out all the same.
    let mut ring = ring;
    ring.put(b"last words");
    around.show(&mut console, 3, &ring, 99);
    around.lent[3] = None;
    around.turn(&mut console, 10);
    assert_eq!((around.answered(), around.shown()), (vec![(3, refused(Error::NotLent))], b"last words".to_vec()));
}

#[test]
fn another_ring_in_the_same_place_begins_where_it_says() {
    let (mut around, mut console, mut ring) = with_ring();
    ring.put(b"one");
    around.turn(&mut console, 9);
    let mut other = Ring::new(9);
    other.put(b"shown before. ");
    other.writer.learn(14);
    other.put(b"new");
    around.lend(3, &other);
    around.turn(&mut console, 10);
    around.turn(&mut console, 10);
    assert_eq!(around.shown(), b"onenew");
}

#[test]
fn indices_that_lie_are_refused_until_they_make_sense() {
    let (mut around, mut console, ring) = with_ring();
    for lie in [RING_BYTES as u64 + 1, u64::MAX] {
        ring.page[0].store(lie, Ordering::Release);
        around.show(&mut console, 1, &ring, 5);
        assert!(!around.turn(&mut console, 10).want_cut);
        assert_eq!((around.answered(), around.shown().len()), (vec![(1, refused(Error::BadRing))], 0));
    }
    ring.page[0].store(2, Ordering::Release);
    around.show(&mut console, 1, &ring, 2);
    around.turn(&mut console, 10);
    assert_eq!((around.answered(), around.shown()), (vec![(1, below(2))], vec![0, 0]));
    // It goes back.
    ring.page[0].store(1, Ordering::Release);
    around.show(&mut console, 1, &ring, 3);
    assert_eq!(around.answered(), [(1, refused(Error::BadRing))]);
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
    let Around { answers, gone, lent, slip, .. } = &mut around;
    let mut world = Inside { answers, gone, running: 10, lent, slip };
    for tag in [0, 3, 0x101, 0x102, u64::MAX] {
        console.request(&mut world, 17, &(tag, [0; 8]), None);
    }
    assert_eq!(around.answered(), [(17, refused(Error::BadRequest)); 5]);
}
