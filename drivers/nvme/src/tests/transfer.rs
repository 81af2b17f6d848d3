//! Data gets to where it belongs, and what cannot be is refused before the device hears of it.

use super::*;
use crate::SubmitError;
use abi::protocol::block::{CallerFault, FRAMES_MAX};

/// Frames that are neither in order nor contiguous.
fn scattered(count: usize) -> Vec<u64> {
    (0..count as u64).map(|i| 0x40_0000 + (i * 7919) % 4096 + (i & 1) * 0x10_0000_0000).collect()
}

fn write_then_read_elsewhere(profile: Profile, count: usize) {
    let mut bench = Bench::ready(profile);
    let frames = scattered(count);
    for (i, frame) in frames.iter().enumerate() {
        bench.fake.fill(*frame, i as u8 + 1);
    }
    assert_eq!(bench.ask(&transfer(1, Op::Write, 9, &frames)).result, Ok(()));
    for i in 0..count {
        assert_eq!(bench.fake.block(9 + i as u64), i as u8 + 1, "block {i}");
    }
    assert_eq!((bench.fake.block(8), bench.fake.block(9 + count as u64)), (0, 0), "and nowhere else");
    let others: Vec<u64> = frames.iter().map(|frame| frame + 0x100_0000).collect();
    assert_eq!(bench.ask(&transfer(2, Op::Read, 9, &others)).result, Ok(()));
    for (i, frame) in others.iter().enumerate() {
        assert_eq!(bench.fake.uniform(*frame), i as u8 + 1, "frame {i}");
    }
}

#[test]
fn every_length_of_page_list() {
    for count in [1, 2, 3, 4, 5, 6, 64, 127, FRAMES_MAX] {
        write_then_read_elsewhere(Profile::default(), count);
        write_then_read_elsewhere(Profile { sector_bytes: 4096, sectors: 256, ..Profile::default() }, count);
    }
}

#[test]
fn lists_of_different_commands_do_not_mix() {
    let mut bench = Bench::ready(Profile::default());
    let request = |tag: u64| {
        let frames: Vec<u64> = (0..3).map(|i| 0x5000 + tag * 16 + i).collect();
        transfer(tag, Op::Write, tag * 3, &frames)
    };
    for tag in 0..63 {
        for frame in request(tag).frames() {
            bench.fake.fill(*frame, tag as u8 + 1);
        }
        bench.submit(&request(tag));
    }
    assert_eq!(bench.driver.submit(0, &request(63)), Err(SubmitError::Full), "a queue of 64 takes 63");
    bench.poll();
    assert_eq!(bench.fake.0.borrow().pending.len(), 63, "fetched only when the doorbell rang");
    // Last one first: answers may come in any order.
    while bench.fake.run_one(usize::MAX) {}
    bench.poll();
    let mut tags: Vec<u64> = bench.completions().iter().map(|done| done.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..63).collect::<Vec<_>>());
    for block in 0..63 * 3 {
        assert_eq!(bench.fake.block(block), (block / 3) as u8 + 1);
    }
}

#[test]
fn the_longest_lists_do_not_reach_into_each_other() {
    let mut bench = Bench::ready(Profile::default());
    for tag in 0..2 {
        let frames: Vec<u64> = (0..128).map(|i| 0x5000 + tag * 128 + i).collect();
        frames.iter().for_each(|frame| bench.fake.fill(*frame, tag as u8 + 1));
        bench.submit(&transfer(tag, Op::Write, tag * 128, &frames));
    }
    bench.poll();
    bench.fake.run();
    bench.poll();
    assert_eq!(bench.completions().len(), 2);
    for block in 0..256 {
        assert_eq!(bench.fake.block(block), (block / 128) as u8 + 1);
    }
}

#[test]
fn queues_wrap_many_times() {
    let mut bench = Bench::ready(Profile { entries: 5, ..Profile::default() });
    for round in 0..200u64 {
        let byte = round as u8;
        bench.fake.fill(1, byte);
        assert_eq!(bench.ask(&transfer(round, Op::Write, round % 256, &[1])).result, Ok(()));
        assert_eq!(bench.ask(&transfer(round, Op::Read, round % 256, &[2])).result, Ok(()));
        assert_eq!(bench.fake.uniform(2), byte);
    }
    for tag in 0..4 {
        bench.submit(&flush(tag));
    }
    assert_eq!(bench.driver.submit(0, &flush(4)), Err(SubmitError::Full), "a queue of 5 takes 4");
}

#[test]
fn several_requests_share_a_doorbell() {
    let mut bench = Bench::ready(Profile::default());
    let before = bench.fake.0.borrow().bells;
    for tag in 0..32 {
        bench.submit(&flush(tag));
    }
    bench.poll();
    bench.fake.run();
    bench.poll();
    assert_eq!(bench.fake.0.borrow().bells - before, 2, "one for the tail, one for the head");
    assert_eq!(bench.completions().len(), 32);
}

#[test]
fn durable_writes_carry_the_bit() {
    let mut bench = Bench::ready(Profile::default());
    bench.fake.fill(1, 9);
    let mut request = transfer(1, Op::Write, 4, &[1]);
    request.durable = true;
    assert_eq!(bench.ask(&request).result, Ok(()));
    bench.fake.power_cut();
    assert_eq!(bench.fake.block(4), 9);
}

#[test]
fn flush_makes_durable() {
    let mut bench = Bench::ready(Profile::default());
    bench.fake.fill(1, 9);
    assert_eq!(bench.ask(&transfer(1, Op::Write, 4, &[1])).result, Ok(()));
    assert_eq!(bench.ask(&flush(2)).result, Ok(()));
    assert_eq!(bench.ask(&transfer(3, Op::Write, 5, &[1])).result, Ok(()));
    bench.fake.power_cut();
    assert_eq!((bench.fake.block(4), bench.fake.block(5)), (9, 0), "the fake's cache really forgets");
}

#[test]
fn zeroes_and_deallocation() {
    let mut bench = Bench::ready(Profile::default());
    bench.fake.fill(1, 9);
    for block in 0..10 {
        assert_eq!(bench.ask(&transfer(1, Op::Write, block, &[1])).result, Ok(()));
    }
    assert_eq!(bench.ask(&Request::plain(2, Op::WriteZeroes, 2, 3)).result, Ok(()));
    assert_eq!(bench.ask(&Request::plain(3, Op::Deallocate, 7, 2)).result, Ok(()));
    let blocks: Vec<u8> = (0..10).map(|block| bench.fake.block(block)).collect();
    assert_eq!(blocks, [9, 9, 0, 0, 0, 9, 9, 0, 0, 9]);
}

#[test]
fn what_cannot_be_is_refused() {
    let mut bench = Bench::ready(Profile { mdts: 2, optional: 0, ..Profile::default() });
    let last = 255;
    let cases = [
        (transfer(1, Op::Read, last + 1, &[1]), CallerFault::OutOfRange),
        (transfer(1, Op::Write, last, &[1, 2]), CallerFault::OutOfRange),
        (transfer(1, Op::Write, u64::MAX - 1, &[1]), CallerFault::OutOfRange),
        (transfer(1, Op::Write, u64::MAX, &[1]), CallerFault::Malformed),
        (transfer(1, Op::Read, 0, &[1, 2, 3, 4, 5]), CallerFault::TooLong),
        (transfer(1, Op::Read, 0, &[]), CallerFault::Malformed),
        (transfer(1, Op::Read, 0, &[1, 1 << 52]), CallerFault::BadFrame),
        (Request::plain(1, Op::WriteZeroes, 0, 1), CallerFault::Unsupported),
        (Request::plain(1, Op::Deallocate, 0, 1), CallerFault::Unsupported),
        (Request::plain(1, Op::Flush, 0, 1), CallerFault::Malformed),
    ];
    for (request, fault) in cases {
        assert_eq!(bench.driver.submit(0, &request), Err(SubmitError::Caller(fault)), "{request:?}");
    }
    bench.submit(&transfer(2, Op::Read, last, &[1]));
    bench.submit(&transfer(3, Op::Read, last - 3, &[1, 2, 3, (1 << 52) - 1]));
    bench.poll();
    assert_eq!(bench.fake.0.borrow().pending.len(), 2, "the limits themselves are allowed, the rest never got there");

    let mut bench = Bench::ready(Profile::default());
    let far = Request::plain(1, Op::Deallocate, 0, u32::MAX);
    assert_eq!(bench.driver.submit(0, &far), Err(SubmitError::Caller(CallerFault::OutOfRange)));
    let mut stopped = Bench::new(Profile::default(), Settings::default());
    assert_eq!(stopped.driver.submit(0, &flush(1)), Err(SubmitError::NotReady));
    bench.driver.shut_down(0);
    assert_eq!(bench.driver.submit(0, &flush(1)), Err(SubmitError::NotReady));
}
