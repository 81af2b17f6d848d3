//! Counters near their ends.

use super::*;

/// The last object that an index can have: after it nothing is made there, so that no capability to what was there before
/// ever names another.
#[test]
fn an_index_that_is_worn_out_is_used_no_more() {
    for (budget, kind) in
        [(BUDGET, Kind::Endpoint), (WORLD, Kind::Notification), (BUDGET, Kind::Thread), (WORLD, Kind::Process)]
    {
        let (mut rig, _) = Rig::new();
        let arguments = if kind == Kind::Thread { [0x40_0000, 0x50_0000, 0, 1] } else { [16, 0, 0, 0] };
        let arguments = if kind == Kind::Endpoint { [0; 4] } else { arguments };
        let made = rig.create(budget, kind, arguments, OWN);
        let index = named(&mut rig, made).0;
        assert_eq!(rig.call(Call::Destroy, made, |_| {}), Status::Ok);
        age(&mut rig, kind, index);
        let last = rig.create(budget, kind, arguments, OWN);
        assert_eq!(named(&mut rig, last), (index, u32::MAX), "{kind:?}");
        assert_eq!(rig.call(Call::Destroy, last, |_| {}), Status::Ok);
        let next = rig.create(budget, kind, arguments, OWN);
        assert_ne!(named(&mut rig, next).0, index, "{kind:?}");
        assert_eq!(rig.call(Call::Identify, last, |_| {}), Status::PeerDied);
    }
}

/// Index and generation of an object.
fn named(rig: &mut Rig, handle: Handle) -> (u32, u32) {
    assert_eq!(rig.call(Call::Identify, handle, |_| {}), Status::Ok);
    let name = rig.kernel.cpus[0].frame.words[2];
    (name as u32, (name >> 32) as u32)
}

/// As if all but one of its generations had been.
fn age(rig: &mut Rig, kind: Kind, index: u32) {
    let generation = match kind {
        Kind::Endpoint => &mut rig.kernel.endpoints.change(index).generation,
        Kind::Notification => &mut rig.kernel.notifications.change(index).generation,
        Kind::Thread => &mut rig.kernel.threads.change(index).thread.generation,
        _ => &mut rig.kernel.processes.change(index).generation,
    };
    *generation = u32::MAX - 1;
}

#[test]
fn the_log_is_read_at_any_position() {
    let (mut rig, _) = Rig::new();
    for position in [u64::MAX, u64::MAX - 3, 1 << 63, 0] {
        assert_eq!(rig.call(Call::ReadLog, EPOCH, |r| r.rdi = position), Status::Ok);
        assert_eq!(rig.kernel.cpus[0].frame.rdi, 0);
    }
}

#[test]
fn world_time_is_not_set_to_where_it_would_wrap() {
    let (mut rig, _) = Rig::new();
    let resume = |rig: &mut Rig, time: u64| {
        rig.call(Call::Resume, EPOCH, |r| {
            r.rdi = abi::Epoch::first_of(1).expect("small").bits();
            r.words[0] = time;
        })
    };
    assert_eq!(resume(&mut rig, 1 << 63), Status::BadArgument);
    assert_eq!(resume(&mut rig, u64::MAX), Status::BadArgument);
    assert_eq!(resume(&mut rig, (1 << 63) - 1), Status::Ok);
}
