//! Random traffic and faults against a model of what a disk may do. proptest prints the failing case and how to replay it
//! (`proptest-regressions`, `PROPTEST_CASES`, `PROPTEST_RNG_SEED`).

use std::collections::HashMap;

use abi::protocol::block::BlockError;
use proptest::prelude::*;

use super::*;
use fake::Answer;

const BLOCKS: u64 = 12;

#[derive(Clone, Copy, Debug)]
enum Move {
    Write {
        block: u64,
        blocks: u64,
    },
    Read {
        block: u64,
        blocks: u64,
    },
    Flush,
    Zero {
        block: u64,
        blocks: u64,
    },
    /// The device executes one of its commands.
    Device {
        which: usize,
    },
    Poll,
    Fault(Answer),
    Fatal,
    /// Time passes beyond every deadline.
    Late,
}

fn moves() -> impl Strategy<Value = Move> {
    let range = || (0..BLOCKS, 1..6u64).prop_map(|(block, blocks)| (block, blocks.min(BLOCKS - block)));
    prop_oneof![
        8 => range().prop_map(|(block, blocks)| Move::Write { block, blocks }),
        6 => range().prop_map(|(block, blocks)| Move::Read { block, blocks }),
        3 => Just(Move::Flush),
        2 => range().prop_map(|(block, blocks)| Move::Zero { block, blocks }),
        12 => (0..8usize).prop_map(|which| Move::Device { which }),
        12 => Just(Move::Poll),
        2 => prop_oneof![
            Just(Answer::Truth),
            Just(Answer::Status(0x281)),
            Just(Answer::Silence),
            Just(Answer::Lost),
            Just(Answer::Twice),
            Just(Answer::WrongIdentifier),
            Just(Answer::WrongPhaseFirst),
        ].prop_map(Move::Fault),
        1 => Just(Move::Fatal),
        1 => Just(Move::Late),
    ]
}

/// What each block may hold, and which requests are under way. A block that a request under way, or one with an unknown
/// or failed end, touches may hold anything that was ever on its way to it.
struct Model {
    may_hold: Vec<Vec<u8>>,
    under_way: HashMap<u64, Request>,
    next_tag: u64,
}

impl Model {
    fn blocks_of(request: &Request) -> std::ops::Range<usize> {
        request.block as usize..(request.block + u64::from(request.blocks)) as usize
    }

    fn value_of(request: &Request) -> u8 {
        if request.op == Op::WriteZeroes { 0 } else { request.tag as u8 }
    }

    fn overlaps(&self, request: &Request) -> bool {
        let mine = Self::blocks_of(request);
        self.under_way.values().any(|other| {
            let theirs = Self::blocks_of(other);
            theirs.start < mine.end && mine.start < theirs.end
        })
    }

    fn changes(request: &Request) -> bool {
        matches!(request.op, Op::Write | Op::WriteZeroes)
    }

    fn begin(&mut self, request: Request) {
        if Self::changes(&request) {
            for block in Self::blocks_of(&request) {
                self.may_hold[block].push(Self::value_of(&request));
            }
        }
        assert!(self.under_way.insert(request.tag, request).is_none());
    }

    fn end(&mut self, bench: &Bench, completion: &Completion) {
        let request = self.under_way.remove(&completion.tag).expect("each request ends once");
        if completion.result.is_err() {
            return;
        }
        if Self::changes(&request) {
            for block in Self::blocks_of(&request) {
                self.may_hold[block] = vec![Self::value_of(&request)];
            }
        }
        if request.op == Op::Read {
            for (block, frame) in Self::blocks_of(&request).zip(request.frames()) {
                let byte = bench.fake.uniform(*frame);
                assert!(self.may_hold[block].contains(&byte), "block {block} holds {byte}: {:?}", self.may_hold[block]);
            }
        }
    }
}

fn frames_of(tag: u64, blocks: u64) -> Vec<u64> {
    (0..blocks).map(|i| 0x9000 + tag * 8 + i).collect()
}

fn play(profile: Profile, moves: &[Move]) {
    let mut bench = Bench::ready(profile);
    let mut model = Model { may_hold: vec![vec![0]; BLOCKS as usize], under_way: HashMap::new(), next_tag: 1 };
    let offer = |bench: &mut Bench, model: &mut Model, request: Request| {
        // The model speaks of one request at a time on a block; so does the snapshot server.
        if request.op != Op::Flush && model.overlaps(&request) {
            return;
        }
        if request.op == Op::Write {
            for frame in request.frames() {
                bench.fake.fill(*frame, Model::value_of(&request));
            }
        }
        if bench.driver.submit(bench.now_ns, &request).is_ok() {
            model.begin(request);
        }
    };
    for step in moves {
        let tag = model.next_tag;
        model.next_tag += 1;
        match *step {
            Move::Write { block, blocks } => {
                offer(&mut bench, &mut model, transfer(tag, Op::Write, block, &frames_of(tag, blocks)));
            }
            Move::Read { block, blocks } => {
                offer(&mut bench, &mut model, transfer(tag, Op::Read, block, &frames_of(tag, blocks)));
            }
            Move::Flush => offer(&mut bench, &mut model, flush(tag)),
            Move::Zero { block, blocks } => {
                offer(&mut bench, &mut model, Request::plain(tag, Op::WriteZeroes, block, blocks as u32));
            }
            Move::Device { which } => {
                bench.fake.run_one(which);
            }
            Move::Poll => bench.pass(MILLISECOND_NS),
            Move::Fault(answer) => bench.fake.0.borrow_mut().answers.push_back(answer),
            Move::Fatal => bench.fake.0.borrow_mut().faults.fatal = true,
            Move::Late => bench.pass(11 * SECOND_NS),
        }
        for completion in bench.completions() {
            model.end(&bench, &completion);
        }
        assert!(bench.driver.check());
    }
    // Whatever happened, every request ends.
    bench.fake.0.borrow_mut().answers.clear();
    for _ in 0..4 {
        bench.poll();
        bench.run_until_settled();
        bench.fake.run();
        bench.pass(11 * SECOND_NS);
        bench.run_until_settled();
        if matches!(bench.driver.state(), State::Dead(_)) {
            bench.driver.silenced();
        }
        for completion in bench.completions() {
            model.end(&bench, &completion);
        }
    }
    assert!(model.under_way.is_empty(), "never answered: {:?}", model.under_way.keys());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_data_is_right_or_said_not_to_be(
        moves in prop::collection::vec(moves(), 1..120),
        sector_bytes in prop_oneof![Just(512usize), Just(4096)],
        entries in prop_oneof![Just(3u32), Just(2048)],
        loses in any::<bool>(),
    ) {
        // Losing the cache at a reset is for `flush_is_never_a_lie`; here only the device's answers are tried.
        let sectors = BLOCKS * 4096 / sector_bytes as u64;
        let profile = Profile { sector_bytes, sectors, entries, write_cache: loses, ..Profile::default() };
        play(profile, &moves);
    }

    /// Whatever resets come, with a cache that each of them empties: what a successful flush covers is on the disk.
    #[test]
    fn flush_is_never_a_lie(moves in prop::collection::vec(moves(), 1..120)) {
        let mut bench = Bench::ready(Profile { sectors: BLOCKS * 8, ..Profile::default() });
        bench.fake.0.borrow_mut().faults.reset_loses_cache = true;
        let mut written: HashMap<u64, (u64, u8)> = HashMap::new();
        let mut claims: HashMap<u64, u8> = HashMap::new();
        let mut flushes: HashMap<u64, HashMap<u64, u8>> = HashMap::new();
        let mut busy: Vec<u64> = Vec::new();
        for (tag, step) in (1u64..).zip(moves) {
            match step {
                Move::Write { block, .. } if !busy.contains(&block) => {
                    bench.fake.fill(0x9000 + tag, tag as u8);
                    if bench.driver.submit(bench.now_ns, &transfer(tag, Op::Write, block, &[0x9000 + tag])).is_ok() {
                        written.insert(tag, (block, tag as u8));
                        busy.push(block);
                        claims.remove(&block);
                        flushes.values_mut().for_each(|covered| { covered.remove(&block); });
                    }
                }
                Move::Flush if bench.driver.submit(bench.now_ns, &flush(tag)).is_ok() => {
                    flushes.insert(tag, claims.clone());
                }
                Move::Device { which } => { bench.fake.run_one(which); }
                Move::Poll => bench.pass(MILLISECOND_NS),
                Move::Fault(answer) => bench.fake.0.borrow_mut().answers.push_back(answer),
                Move::Fatal => bench.fake.0.borrow_mut().faults.fatal = true,
                Move::Late => bench.pass(11 * SECOND_NS),
                _ => {}
            }
            for completion in bench.completions() {
                if let Some((block, byte)) = written.remove(&completion.tag) {
                    busy.retain(|other| *other != block);
                    if completion.result.is_ok() {
                        claims.insert(block, byte);
                    }
                } else if let Some(covered) = flushes.remove(&completion.tag) {
                    match completion.result {
                        Ok(()) => for (block, byte) in covered {
                            let held = bench.fake.durable_block(block);
                            prop_assert_eq!(held, byte, "flush {} lied about block {}", completion.tag, block);
                        },
                        // What it might have lost is written again by a client, or forgotten.
                        Err(BlockError::Unknown) => claims.clear(),
                        Err(_) => {}
                    }
                }
            }
        }
    }
}
