//! What a hostile thread does next: a call with any registers, or an access that nobody allows.

use crate::random::Random;
use abi::{CALLS, Call, Control, Handle, Kind, MapFlags, Rights, Timeout, USER_END, USER_START};

/// From here to the end of windows a program has nothing (`libos::NO_VIEWS`).
const NOTHING: (u64, u64) = (abi::protocol::startup::WINDOWS_START + (5 << 40), abi::protocol::startup::WINDOWS_END);

/// One throw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throw {
    /// A call: rax, rdi, words 0 … 7, capabilities.
    Call([u64; 11]),
    /// What ends the thread: the kind of misdeed and the address.
    Misdeed(u64, u64),
}

/// One throw in so many ends its thread.
const MISDEED_EVERY: u64 = 1500;
/// Handles that a process here may well have; one more.
const HANDLES: u64 = 65;
/// Those that it has most of the time.
const HANDLES_OFTEN: u64 = 12;
/// One call in so many that would lose something is made.
const LOSS_EVERY: u64 = 20;
/// Requests to the memory port that would end the thrower itself, not its peers: `UnmapRegion` to `DestroySpace`.
const SUICIDES: core::ops::RangeInclusive<u64> = 4..=8;

/// A number as callers get it wrong: small, at an edge, or anything.
fn word(random: &mut Random) -> u64 {
    match random.below(8) {
        0..3 => random.below(80),
        3 => {
            random.one_of([u64::MAX, 1 << 63, i64::MAX as u64, u32::MAX.into(), 1 << 32, USER_END, USER_START, 1 << 48])
        }
        4 => random.number() >> random.below(64),
        5 => address(random),
        6 => (random.number() & Rights::all().bits() as u64) | u64::from(random.chance(2)) << 40,
        _ => random.number(),
    }
}

/// An address at which no object of a program lies.
fn address(random: &mut Random) -> u64 {
    let (start, end) = NOTHING;
    let address = match random.below(6) {
        0 => random.below(USER_START),
        1 => USER_END + (random.number() >> 17),
        2 => random.number() | 1 << 63,
        3 => random.one_of([
            USER_END,
            USER_END - 1 + (1 << 47),
            0xffff_8000_0000_0000,
            0xffff_ffff_8000_0000,
            u64::MAX - 7,
        ]),
        _ => start + random.below(end - start),
    };
    if random.chance(2) { address & !0xfff } else { address }
}

fn handle(random: &mut Random) -> Handle {
    Handle(match random.below(8) {
        0..4 => random.below(HANDLES_OFTEN),
        4..6 => random.below(HANDLES),
        6 => random.below(HANDLES) << 8,
        _ => random.number(),
    } as u16)
}

fn timeout(random: &mut Random) -> Timeout {
    match random.below(16) {
        0..8 => Timeout::POLL,
        8..14 => Timeout::from_ns(random.below(200_000)),
        14 => Timeout::from_bits(random.number() as u32),
        _ => Timeout::FOREVER,
    }
}

fn flags(random: &mut Random) -> u8 {
    if random.chance(4) { random.number() as u8 } else { random.below(5) as u8 }
}

/// The next throw.
pub fn throw(random: &mut Random) -> Throw {
    if random.chance(MISDEED_EVERY) {
        return Throw::Misdeed(random.below(5), address(random));
    }
    let number = if random.chance(16) { random.number() as u8 } else { random.below(CALLS.into()) as u8 };
    let loses = matches!(Call::from_bits(number), Some(Call::Drop | Call::Destroy));
    // Who has lost everything has nothing to throw with.
    let number = if loses && !random.chance(LOSS_EVERY) { 1 + random.below(9) as u8 } else { number };
    let known = Call::from_bits(number);
    let control = u64::from(number) | u64::from(flags(random)) << 8 | u64::from(handle(random).0) << 16;
    let mut registers = [0; 11];
    registers.fill_with(|| word(random));
    registers[0] = Control(control).with_timeout(timeout(random)).0;
    // Half of all handles of capabilities could be meant.
    let caps = [(); 4].map(|()| handle(random));
    registers[10] = if random.chance(2) { abi::registers::pack_caps(caps) } else { random.number() };
    match known {
        Some(Call::Map | Call::Unmap | Call::Protect | Call::Accessed) => {
            registers[1] = address(random);
            registers[4] = random.below(MapFlags::all().bits() + 2);
        }
        Some(Call::Create) => {
            registers[1] = if random.chance(4) { word(random) } else { random.below(Kind::Epoch as u64 + 2) }
        }
        Some(Call::Call | Call::Send | Call::ReplyReceive | Call::Reply) if SUICIDES.contains(&registers[1]) => {
            registers[1] = 3;
        }
        _ => {}
    }
    Throw::Call(registers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn everything_is_thrown_but_suicide() {
        let mut random = Random::new(7, 1);
        let (mut calls, mut misdeeds, mut small) = (BTreeSet::new(), BTreeSet::new(), 0);
        for _ in 0..200_000 {
            match throw(&mut random) {
                Throw::Call(registers) => {
                    let control = Control(registers[0]);
                    calls.insert(control.call());
                    small += u32::from(u64::from(control.handle().0) < HANDLES);
                    let call = Call::from_bits(control.call());
                    let talks = matches!(call, Some(Call::Call | Call::Send | Call::ReplyReceive | Call::Reply));
                    assert!(!talks || !SUICIDES.contains(&registers[1]), "{registers:x?}");
                    if matches!(call, Some(Call::Map | Call::Unmap | Call::Protect | Call::Accessed)) {
                        assert!(is_nowhere(registers[1]), "{registers:x?}");
                    }
                }
                Throw::Misdeed(kind, address) => {
                    misdeeds.insert(kind);
                    assert!(is_nowhere(address), "{address:x}");
                }
            }
        }
        assert_eq!((calls.len(), misdeeds.len()), (256, 5), "call numbers and misdeeds");
        assert!(small > 100_000, "{small} handles that could be meant");
    }

    fn is_nowhere(address: u64) -> bool {
        !(USER_START..USER_END).contains(&address) || (NOTHING.0..NOTHING.1).contains(&address)
    }

    #[test]
    fn a_seed_throws_the_same_again() {
        let run = |seed, who| {
            let mut random = Random::new(seed, who);
            (0..100).map(|_| throw(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(run(5, 1), run(5, 1));
        assert!(run(5, 1) != run(6, 1) && run(5, 1) != run(5, 2));
    }
}
