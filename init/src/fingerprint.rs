//! Which programs a world is made with, in one number: so that a later build can tell people that the world on the disk
//! goes on with older ones.

use crate::plan::Plan;
use abi::bundle::Bundle;

/// FNV-1a, 64 bits (Fowler, Noll, Vo): against accidents, not against malice.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x100_0000_01b3;

/// Fingerprint of all that a genesis takes from the bundle: the world's services as the manifest has them, and the bytes of
/// their programs. Never 0.
pub fn fingerprint(bundle: &Bundle<'_>, plan: &Plan<'_>) -> u64 {
    let mut sum = BASIS;
    let mut add = |bytes: &[u8]| {
        // The length too: what moves from one part to the next is a difference.
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    };
    for member in plan.world.iter() {
        let service = member.service;
        add(service.name().as_bytes());
        add(&[service.priority()]);
        add(&service.stack_pages().to_le_bytes());
        service.grants().for_each(|word| add(word.as_str().as_bytes()));
        let Some(program) = bundle.program(service.program()) else { continue };
        add(&program.entry().to_le_bytes());
        for segment in program.segments() {
            add(&segment.address().to_le_bytes());
            add(&segment.memory_bytes().to_le_bytes());
            add(&segment.rights().bits().to_le_bytes());
            // The bundle has been checked: its sums stand for the bytes.
            add(&segment.checksum().to_le_bytes());
        }
    }
    sum.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_bundle::{Made, bundle_of, service};

    fn print_of(services: &[Made], build: u8) -> u64 {
        let bytes = bundle_of(services, build);
        let bundle = Bundle::open(&bytes).expect("sound");
        fingerprint(&bundle, &Plan::of(&bundle).expect("a plan"))
    }

    #[test]
    fn only_what_a_genesis_takes_counts() {
        let world = || service("tally", &[]).in_world();
        let one = print_of(&[world()], 0);
        assert_ne!(one, 0);
        assert_eq!(one, print_of(&[world()], 0), "the same build, the same number");
        assert_eq!(one, print_of(&[service("clock", &["debug"]), world()], 0), "servers are no part of a world");
        assert_ne!(one, print_of(&[world()], 1), "another program");
        for other in [
            vec![service("other", &[]).in_world()],
            vec![world(), service("more", &[]).in_world()],
            vec![service("tally", &["serve:counter"]).in_world()],
            vec![],
        ] {
            assert_ne!(one, print_of(&other, 0));
        }
    }
}
