//! When epochs are cut, and whose pages come back.

use abi::protocol::paging::Refusal;

use super::*;

#[test]
fn a_cut_comes_at_its_time_or_when_somebody_waits() {
    let (mut conductor, mut stage) = begun();
    // The first commit of an incarnation is worth having soon.
    assert_eq!(conductor.due_in(stage.now), Some(POLICY.hurry_ns));
    assert_eq!(conductor.due_in(stage.now + 3), Some(POLICY.hurry_ns - 3));
    stage.now += POLICY.hurry_ns;
    settle(&mut conductor, &mut stage);
    assert_eq!(stage.heard.last(), Some(&ToPager::Cut));
    assert_eq!(conductor.due_in(stage.now), None, "it was asked for");
    stage.said.push_back(ToStore::CutRefused(Refusal::NotReady));
    settle(&mut conductor, &mut stage);
    assert_eq!(conductor.due_in(stage.now + 400), Some(POLICY.interval_ns - 400));
    conductor.hurry();
    assert_eq!(conductor.due_in(stage.now), Some(POLICY.hurry_ns));
    let fresh = Conductor::open(memory(BLOCKS), calm(), Config::default(), POLICY, None);
    assert_eq!(fresh.due_in(0), None, "nothing is open");
}

/// The pages of two epochs are under way at once: each comes back with its own.
#[test]
fn pages_come_back_with_the_epoch_that_they_belong_to() {
    let (mut conductor, mut stage) = begun();
    // A commit first, so that the world is no new one.
    cut(&mut conductor, &mut stage, false);
    stage.heard.clear();
    host(&mut conductor).still = true;
    let mut cuts = Vec::new();
    for frame in 1..3u32 {
        host(&mut conductor).pages[OWN_PAGES as usize + frame as usize].fill(frame as u8);
        stage.now += 10_000;
        while conductor.poll(&mut stage) {}
        assert_eq!(stage.heard.last(), Some(&ToPager::Cut));
        let (ended, frame) = (stage.running, OWN_PAGES as u32 + frame);
        stage.running = ended.next().expect("another epoch");
        stage.to_export.push(world_record());
        stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet: false });
        stage.said.push_back(ToStore::Dirty { epoch: ended, page: PAGE, frame });
        stage.said.push_back(ToStore::Gathered { epoch: ended, pages: 1, batches: 0, drops: 0 });
        for _ in 0..50 {
            conductor.poll(&mut stage);
        }
        cuts.push(ToPager::Released { epoch: ended, frame });
    }
    assert!(!stage.heard.iter().any(|heard| matches!(heard, ToPager::Released { .. })), "{:?}", stage.heard);
    host(&mut conductor).still = false;
    settle(&mut conductor, &mut stage);
    let released = |heard: &&ToPager| matches!(heard, ToPager::Released { .. });
    assert_eq!(stage.heard.iter().filter(released).copied().collect::<Vec<_>>(), cuts);
}
