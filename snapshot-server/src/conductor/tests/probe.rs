//! Tests of the look at a disk before a store is opened or made on it.

use super::*;

/// What the probe says in the end, and how often it asked.
fn probed(host: &mut Calm) -> (Option<Probed>, usize) {
    let mut probe = Probe::new(PageRef(0));
    for asked in 0..20 {
        if let Some(found) = probe.poll(host) {
            return (Some(found), asked);
        }
    }
    (None, 20)
}

#[test]
fn only_a_disk_with_nothing_in_either_place_is_blank() {
    let mut host = calm_of(64);
    host.block_mut(5).fill(1);
    host.block_mut(62).fill(1);
    assert_eq!(probed(&mut host), (Some(Probed::Blank), 2));
    host.block_mut(63)[4095] = 1;
    assert_eq!(probed(&mut host), (Some(Probed::Written), 2));
    host.block_mut(0)[4095] = 1;
    assert_eq!(probed(&mut host), (Some(Probed::Written), 1));
}

#[test]
fn a_disk_that_cannot_be_read_is_dead_after_some_tries_of_one_place() {
    let mut host = Calm { worn: Some((Op::Read, 0)), ..calm_of(64) };
    assert_eq!(probed(&mut host), (Some(Probed::Dead), 4));
    // Tries of the first place are none of the second.
    let mut host = Calm { worn: Some((Op::Read, 0)), ..calm_of(64) };
    let mut probe = Probe::new(PageRef(0));
    for _ in 0..3 {
        assert_eq!(probe.poll(&mut host), None);
    }
    host.worn = None;
    assert_eq!(probe.poll(&mut host), None);
    host.worn = Some((Op::Read, 0));
    for _ in 0..4 {
        assert_eq!(probe.poll(&mut host), None);
    }
    assert_eq!(probe.poll(&mut host), Some(Probed::Dead));
}

#[test]
fn completions_of_others_are_not_taken_for_its_own() {
    let mut host = calm_of(64);
    let mut probe = Probe::new(PageRef(0));
    assert_eq!(probe.poll(&mut host), None);
    host.done.push_front(Completion { tag: 9, result: Err(DiskError::Medium) });
    for _ in 0..2 {
        assert_eq!(probe.poll(&mut host), None);
    }
    assert_eq!(probe.poll(&mut host), Some(Probed::Blank));
    assert_eq!(host.done.len(), 0, "each place was read once");
}
