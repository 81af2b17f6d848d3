//! The device misbehaves. Each request still ends once, never as a success that did not happen, and never before the
//! device has let go of its frames.

use super::*;
use crate::Death;
use abi::protocol::block::{BlockError, MediumFault};
use fake::Answer;

const UNKNOWN: Result<(), BlockError> = Err(BlockError::Unknown);

fn order(bench: &Bench, answer: Answer) {
    bench.fake.0.borrow_mut().answers.push_back(answer);
}

/// Submits one write, has it answered with `answer`, and lets the driver get over it.
fn write_answered(answer: Answer) -> (Bench, Vec<Completion>) {
    let mut bench = Bench::ready(Profile::default());
    order(&bench, answer);
    bench.fake.fill(1, 3);
    bench.submit(&transfer(7, Op::Write, 4, &[1]));
    bench.poll();
    bench.fake.run();
    bench.run_until_settled();
    bench.pass(11 * SECOND_NS);
    bench.run_until_settled();
    assert_eq!(bench.driver.state(), State::Ready, "it gets over {answer:?}");
    let completions = bench.completions();
    (bench, completions)
}

#[test]
fn errors_of_the_medium_are_passed_on() {
    let (bench, completions) = write_answered(Answer::Status(0x280));
    let result = Err(BlockError::Medium(MediumFault::Write));
    assert_eq!(completions, [Completion { tag: 7, result, device_status: 0x280 }]);
    assert_eq!(bench.driver.resets(), 0, "that is no reason to reset");
}

#[test]
fn a_lost_answer_is_unknown_after_a_reset() {
    for answer in [Answer::Lost, Answer::Silence] {
        let (mut bench, completions) = write_answered(answer);
        assert_eq!(completions, [Completion { tag: 7, result: UNKNOWN, device_status: 0 }]);
        assert_eq!((bench.driver.resets(), bench.fake.0.borrow().resets), (1, 1));
        assert_eq!(bench.ask(&transfer(8, Op::Write, 4, &[1])).result, Ok(()), "and it works again");
    }
}

#[test]
fn an_answer_in_time_is_not_lost_however_late_the_driver_looks() {
    let mut bench = Bench::ready(Profile::default());
    bench.submit(&flush(1));
    bench.poll();
    bench.fake.run();
    // The interrupt got lost, and the driver slept for an hour.
    bench.pass(3600 * SECOND_NS);
    assert_eq!(bench.completions().len(), 1);
    assert_eq!(bench.driver.resets(), 0);
}

#[test]
fn only_the_late_command_counts_its_time() {
    let mut bench = Bench::ready(Profile::default());
    order(&bench, Answer::Lost);
    bench.submit(&flush(1));
    bench.poll();
    bench.fake.run();
    for tag in 2..11 {
        bench.pass(SECOND_NS);
        assert_eq!(bench.ask(&flush(tag)).result, Ok(()));
    }
    assert_eq!(bench.driver.resets(), 0);
    bench.pass(SECOND_NS);
    assert_eq!(bench.driver.resets(), 1, "10 s after the first, though others were answered since");
}

#[test]
fn nonsense_leads_to_a_reset() {
    for answer in [Answer::WrongIdentifier, Answer::WrongQueue] {
        let (bench, completions) = write_answered(answer);
        assert_eq!(completions, [Completion { tag: 7, result: UNKNOWN, device_status: 0 }], "{answer:?}");
        assert_eq!(bench.driver.resets(), 1);
    }
    let (bench, completions) = write_answered(Answer::Twice);
    assert_eq!(completions, [Completion { tag: 7, result: Ok(()), device_status: 0 }], "once only");
    assert_eq!(bench.driver.resets(), 1, "the second answer was to nothing");
}

/// The slot is the same, its use is not: a late repetition must not pass for the answer to a command that was not done.
#[test]
fn an_answer_to_an_earlier_use_of_a_slot_is_nonsense() {
    let mut bench = Bench::ready(Profile::default());
    for round in 0..3 {
        assert_eq!(bench.ask(&flush(round)).result, Ok(()));
        order(&bench, Answer::PreviousAgain);
        bench.submit(&transfer(10 + round, Op::Read, 0, &[1]));
        bench.poll();
        bench.fake.run();
        bench.run_until_settled();
        assert_eq!(bench.completions(), [Completion { tag: 10 + round, result: UNKNOWN, device_status: 0 }]);
    }
    assert_eq!(bench.driver.resets(), 3);
}

#[test]
fn an_entry_with_the_old_phase_is_not_read() {
    let mut bench = Bench::ready(Profile { entries: 4, ..Profile::default() });
    for tag in 0..20 {
        order(&bench, Answer::WrongPhaseFirst);
        bench.submit(&flush(tag));
        bench.poll();
        bench.fake.run_one(0);
        bench.poll();
        assert_eq!(bench.completions(), [], "stale junk at {tag}");
        bench.fake.run_one(0);
        bench.poll();
        assert_eq!(bench.completions().len(), 1);
    }
    assert_eq!(bench.driver.resets(), 0);
}

#[test]
fn a_fatal_controller_is_reset() {
    let mut bench = Bench::ready(Profile::default());
    bench.submit(&flush(1));
    bench.poll();
    bench.fake.0.borrow_mut().faults.fatal = true;
    bench.pass(20 * MILLISECOND_NS);
    assert_eq!(bench.driver.state(), State::Starting, "seen at the next look, not at the time-out");
    bench.run_until_settled();
    assert_eq!(bench.driver.state(), State::Ready);
    assert_eq!(bench.completions(), [Completion { tag: 1, result: UNKNOWN, device_status: 0 }]);
}

#[test]
fn completions_wait_until_the_device_has_stopped() {
    let mut bench = Bench::ready(Profile { sluggish: 50, ..Profile::default() });
    order(&bench, Answer::Lost);
    bench.submit(&transfer(1, Op::Read, 0, &[1]));
    bench.poll();
    bench.fake.run();
    bench.pass(11 * SECOND_NS);
    let mut waited = 0;
    while bench.completions().is_empty() {
        assert!(bench.fake.0.borrow().resets == 1 && waited < 100);
        waited += 1;
        bench.pass(MILLISECOND_NS);
    }
    assert!(waited > 20, "its frames are the device's until CSTS.RDY is clear, but it waited for {waited} looks");
}

#[test]
fn a_removed_device_keeps_its_frames_until_it_is_silenced() {
    let mut bench = Bench::ready(Profile::default());
    bench.submit(&transfer(1, Op::Read, 0, &[1]));
    bench.poll();
    bench.fake.0.borrow_mut().faults.removed = true;
    bench.pass(20 * MILLISECOND_NS);
    assert_eq!(bench.driver.state(), State::Dead(Death::Removed));
    bench.pass(3600 * SECOND_NS);
    assert_eq!(bench.completions(), []);
    assert_eq!(bench.driver.under_way(), 1);
    bench.driver.silenced();
    assert_eq!(bench.completions(), [Completion { tag: 1, result: UNKNOWN, device_status: 0 }]);
    assert!(bench.driver.check());
}

#[test]
fn a_device_that_keeps_failing_is_given_up() {
    let mut bench = Bench::ready(Profile::default());
    for tag in 0..4 {
        assert_eq!(bench.driver.state(), State::Ready, "reset {tag}");
        order(&bench, Answer::Lost);
        bench.submit(&flush(tag));
        bench.poll();
        bench.fake.run();
        bench.pass(11 * SECOND_NS);
        bench.run_until_settled();
    }
    assert_eq!(bench.driver.state(), State::Dead(Death::KeepsFailing));
    assert_eq!(bench.completions().len(), 4);
}

#[test]
fn an_answer_forgives_earlier_resets() {
    let mut bench = Bench::ready(Profile::default());
    for tag in 0..10 {
        order(&bench, Answer::Lost);
        bench.submit(&flush(tag));
        bench.poll();
        bench.fake.run();
        bench.pass(11 * SECOND_NS);
        bench.run_until_settled();
        assert_eq!(bench.completions().len(), 1);
        assert_eq!(bench.ask(&transfer(99, Op::Read, 0, &[1])).result, Ok(()));
    }
    assert_eq!(bench.driver.resets(), 10);
}

/// Writes completed, then a reset came that nobody else noticed: the flush must not claim them.
#[test]
fn a_flush_after_a_reset_says_unknown_once() {
    let mut bench = Bench::ready(Profile::default());
    bench.fake.0.borrow_mut().faults.reset_loses_cache = true;
    bench.fake.fill(1, 3);
    assert_eq!(bench.ask(&transfer(1, Op::Write, 4, &[1])).result, Ok(()));
    order(&bench, Answer::Lost);
    bench.submit(&transfer(2, Op::Read, 0, &[2]));
    bench.poll();
    bench.fake.run();
    bench.pass(11 * SECOND_NS);
    bench.run_until_settled();
    assert_eq!(bench.completions(), [Completion { tag: 2, result: UNKNOWN, device_status: 0 }]);
    assert_eq!(bench.fake.block(4), 0, "the write is lost indeed");
    bench.submit(&flush(3));
    assert_eq!(bench.completions(), [Completion { tag: 3, result: UNKNOWN, device_status: 0 }]);
    assert_eq!(bench.ask(&transfer(4, Op::Write, 4, &[1])).result, Ok(()));
    assert_eq!(bench.ask(&flush(5)).result, Ok(()), "said once");
    bench.fake.power_cut();
    assert_eq!(bench.fake.block(4), 3);
}

#[test]
fn a_flush_after_a_reset_succeeds_when_nothing_can_be_lost() {
    let lose_a_read = |bench: &mut Bench| {
        order(bench, Answer::Lost);
        bench.submit(&transfer(2, Op::Read, 0, &[2]));
        bench.poll();
        bench.fake.run();
        bench.pass(11 * SECOND_NS);
        bench.run_until_settled();
        assert_eq!(bench.completions().len(), 1);
    };
    // Flushed before the reset.
    let mut bench = Bench::ready(Profile::default());
    assert_eq!(bench.ask(&transfer(1, Op::Write, 4, &[1])).result, Ok(()));
    assert_eq!(bench.ask(&flush(3)).result, Ok(()));
    lose_a_read(&mut bench);
    assert_eq!(bench.ask(&flush(4)).result, Ok(()));
    // No cache to lose.
    let mut bench = Bench::ready(Profile { write_cache: false, ..Profile::default() });
    assert_eq!(bench.ask(&transfer(1, Op::Write, 4, &[1])).result, Ok(()));
    lose_a_read(&mut bench);
    assert_eq!(bench.ask(&flush(3)).result, Ok(()));
    // The flush itself was unknown: its client knows already.
    let mut bench = Bench::ready(Profile::default());
    assert_eq!(bench.ask(&transfer(1, Op::Write, 4, &[1])).result, Ok(()));
    order(&bench, Answer::Lost);
    bench.submit(&flush(2));
    bench.poll();
    bench.fake.run();
    bench.pass(11 * SECOND_NS);
    bench.run_until_settled();
    assert_eq!(bench.completions(), [Completion { tag: 2, result: UNKNOWN, device_status: 0 }]);
    assert_eq!(bench.ask(&flush(3)).result, Ok(()));
}

/// A write that completed while a flush was under way is not covered by it.
#[test]
fn a_flush_covers_only_what_had_completed() {
    let mut bench = Bench::ready(Profile::default());
    bench.submit(&flush(1));
    bench.submit(&transfer(2, Op::Write, 4, &[1]));
    bench.poll();
    // The write is answered first; the flush was there before it.
    bench.fake.run_one(1);
    bench.fake.run();
    bench.poll();
    assert_eq!(bench.completions().len(), 2);
    order(&bench, Answer::Lost);
    bench.submit(&transfer(3, Op::Read, 0, &[2]));
    bench.poll();
    bench.fake.run();
    bench.pass(11 * SECOND_NS);
    bench.run_until_settled();
    assert_eq!(bench.completions().len(), 1);
    bench.submit(&flush(4));
    assert_eq!(bench.completions(), [Completion { tag: 4, result: UNKNOWN, device_status: 0 }]);
}
