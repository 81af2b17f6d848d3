//! Blocks of the log that have rotted or cannot be read: nothing older passes for the newest, and what is whole can be
//! asked for.

use super::*;
use crate::Damage;

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Rotten,
    Unreadable,
}

/// An opening of the bench's disk after `block` has become bad.
fn open(bench: &Bench, config: Config, fault: Fault, block: Block, epoch: Option<Epoch>) -> Bench {
    let mut host = Calm { blocks: bench.store.host.blocks.clone(), ..Calm::of(0, CALLERS) };
    match fault {
        Fault::Rotten => host.block_mut(block.index())[70] ^= 1,
        Fault::Unreadable => host.bad.push(block.index()),
    }
    let mut opened = Bench::of(Store::open(memory(host.blocks.len()), host, config, epoch));
    opened.given = bench.given;
    opened
}

/// Each descriptor: its block, its head, and the last epoch committed before it.
fn log(bench: &Bench) -> Vec<(Block, DescriptorHead, Epoch)> {
    let mut block = bench.store.root().log.block;
    let mut before = Epoch::NONE;
    let heads = bench.log_from(bench.store.root().log);
    let with_place = |head: DescriptorHead| {
        let found = (block, head, before);
        block = head.next;
        before = if head.flags.commit { head.epoch } else { before };
        found
    };
    heads.into_iter().map(with_place).collect()
}

/// Small epochs, many to a segment, and large ones over many segments. One block of the log goes bad, each in its turn: the
/// opening is refused, with the last epoch before it on offer, unless nothing proves that there was more.
#[test]
fn a_bad_block_of_the_log_is_never_taken_for_its_end() {
    let config = Config { recent_epochs: 7, ..LAZY };
    for pages in [1u64, 6, 40, 150] {
        let mut bench = Bench::new(4096, config);
        // So many that the log of the smallest, too, comes into other segments before a root says so.
        let count = if pages == 1 { 30 } else { 8 };
        let epochs: Vec<Epoch> = (0..count).map(|_| bench.epoch((0..pages).map(|index| (1, index)))).collect();
        let (head, vouched) = (bench.store.head(), bench.store.vouched());
        assert_eq!(Some(&head), epochs.last());
        // An epoch as long as a segment is vouched for at once.
        assert!(pages < 16 || vouched == head, "{pages}: {vouched}");
        for (block, lost, before) in log(&bench) {
            for fault in [Fault::Rotten, Fault::Unreadable] {
                let opened = open(&bench, config, fault, block, None);
                let offer = (before > Epoch::NONE).then_some(before);
                let refused = Event::Refused(Refusal::Damaged { damage: Damage::Log(block), offer });
                match opened.events[..] {
                    [Event::Opened(report)] => {
                        // Nothing lies behind the last epoch that could prove it.
                        assert!(lost.epoch == head && vouched < head, "{pages} {fault:?} {block}: {report:?}");
                        assert_eq!(report.epoch, before);
                        let case = if fault == Fault::Rotten { Case::LogEndTorn } else { Case::LogEndUnreadable };
                        assert!(report.met(case), "{report:?}");
                    }
                    [event] => assert_eq!(event, refused, "{pages} {fault:?}"),
                    _ => panic!("{:?}", opened.events),
                }
                let Some(offer) = offer.filter(|offer| *offer > epochs[0]) else { continue };
                let opened = open(&bench, config, fault, block, Some(offer));
                let [Event::Opened(report)] = opened.events[..] else { panic!("{offer}: {:?}", opened.events) };
                assert_eq!((report.epoch, report.met(Case::AskedFor)), (offer, true));
            }
        }
    }
}

/// The log goes on at the other end of the disk, and what proves that lies there.
#[test]
fn a_proof_is_found_round_the_end_of_the_disk() {
    let config = Config { recent_epochs: 7, ..LAZY };
    let mut bench = Bench::new(512, config);
    let wrapped = |bench: &Bench| log(bench).windows(2).position(|pair| pair[1].0 < pair[0].0);
    for _ in 0..300 {
        bench.epoch([(1, 0)]);
        if wrapped(&bench).is_some() {
            break;
        }
    }
    let last = wrapped(&bench).expect("small enough to go round");
    for _ in 0..2 {
        bench.epoch([(1, 0)]);
    }
    let (block, lost, before) = log(&bench)[last];
    assert!(bench.store.vouched() < lost.epoch, "no root may be the proof");
    for fault in [Fault::Rotten, Fault::Unreadable] {
        let opened = open(&bench, config, fault, block, None);
        let refused = Refusal::Damaged { damage: Damage::Log(block), offer: Some(before) };
        assert_eq!(opened.events, [Event::Refused(refused)], "{fault:?}");
    }
}

/// Two epochs were under way together when the power went, and of the first nothing came through: the second proves
/// nothing of it, and the last durable one is opened.
#[test]
fn what_was_under_way_proves_nothing() {
    let mut bench = Bench::new(4096, LAZY);
    let durable = bench.epoch([(1, 0)]);
    for index in 1..3 {
        bench.begin(10);
        assert_eq!(bench.put(1, index), Ok(()));
        bench.seal(20);
    }
    bench.rest();
    let written = log(&bench);
    assert!(written[1..].iter().all(|(_, head, _)| head.durable == durable), "{written:?}");
    assert_eq!(bench.store.vouched(), durable);
    let opened = open(&bench, LAZY, Fault::Rotten, written[1].0, None);
    let [Event::Opened(report)] = opened.events[..] else { panic!("{:?}", opened.events) };
    assert_eq!((report.epoch, report.met(Case::LogEndTorn)), (durable, true));
}

/// A store whose only epoch has rotted is not an empty one: a new world would begin on top of it.
#[test]
fn a_world_whose_first_epoch_has_rotted_is_not_an_empty_one() {
    for pages in [1, 40] {
        let mut bench = Bench::new(1024, LAZY);
        bench.epoch((0..pages).map(|index| (1, index)));
        for (block, ..) in log(&bench) {
            for fault in [Fault::Rotten, Fault::Unreadable] {
                let opened = open(&bench, LAZY, fault, block, None);
                let refused = Refusal::Damaged { damage: Damage::Log(block), offer: None };
                assert_eq!(opened.events, [Event::Refused(refused)], "{pages} {fault:?}");
            }
        }
    }
}

/// The block where the next descriptor would lie was never written; that it cannot be read costs nothing, for it can be
/// written.
#[test]
fn an_unreadable_block_behind_the_log_costs_nothing() {
    for (pages, folded) in [(1, false), (1, true), (40, false), (40, true)] {
        let mut bench = Bench::new(1024, LAZY);
        let mut head = Epoch::NONE;
        for _ in 0..3 {
            head = bench.epoch((0..pages).map(|index| (1, index)));
        }
        if folded {
            bench.store.want_checkpoint();
            bench.rest();
        }
        let end = bench.store.log.block;
        for epoch in [None, Some(head)] {
            let mut opened = open(&bench, LAZY, Fault::Unreadable, end, epoch);
            let [Event::Opened(report)] = opened.events[..] else { panic!("{:?}", opened.events) };
            assert_eq!(report.epoch, head);
            let walked = !(folded && epoch.is_some());
            assert_eq!(report.met(Case::LogEndUnreadable), walked, "{report:?}");
            for index in 0..pages {
                opened.check(1, index, 2 * pages + index + 1);
            }
            // A medium that takes the write reads the block again.
            opened.store.host.bad.clear();
            opened.incarnate();
            let next = opened.epoch([(2, 0)]);
            let (_, report) = opened.reopened(LAZY);
            assert_eq!(report.epoch, next);
        }
    }
}

/// Roots that say how far the log has come take turns in two slots: those of older checkpoints stay in the ring.
#[test]
fn roots_of_older_checkpoints_outlive_a_long_log() {
    let mut bench = Bench::new(4096, LAZY);
    for _ in 0..2 {
        bench.epoch([(1, 0)]);
        bench.store.want_checkpoint();
        bench.rest();
    }
    let checkpoints = bench.store.root().checkpoints().to_vec();
    assert_eq!(checkpoints.len(), 2);
    let mut sequences = vec![bench.store.root().sequence];
    for _ in 0..12 {
        // Longer than a segment: each is vouched for.
        bench.epoch((0..20).map(|index| (1, index)));
        sequences.push(bench.store.root().sequence);
    }
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
    let slots = u64::from(OPTIONS.root_slots);
    let used: std::collections::BTreeSet<u64> = sequences.iter().map(|sequence| sequence % slots).collect();
    assert_eq!(used.len(), 2, "{sequences:?}");
    let geometry = *bench.store.geometry();
    let roots = (0..slots).filter_map(|slot| {
        let at = geometry.root(slot)[0];
        Root::parse(bench.store.world, &geometry, at, &bench.store.host.block(at.index())).ok()
    });
    let older = roots.filter(|(root, _)| root.newest().map(|kept| kept.epoch) == Some(checkpoints[0].epoch)).count();
    assert!(older > 0);
}

/// Of the newest root both copies have rotted: the log is whole and leads to the newest epoch, and people are told that
/// the root is missing.
#[test]
fn a_root_that_is_lost_is_told_of() {
    let mut bench = Bench::new(4096, LAZY);
    let mut head = Epoch::NONE;
    for _ in 0..40 {
        head = bench.epoch([(1, 0)]);
    }
    let [a, b] = bench.store.geometry().root(bench.store.root().sequence);
    for (rotten, lost) in [(vec![], false), (vec![a], false), (vec![b], false), (vec![a, b], true)] {
        let (opened, report) = bench.spoilt(LAZY, &rotten);
        assert_eq!((report.epoch, report.met(Case::RootLost)), (head, lost), "{rotten:?}: {report:?}");
        assert_eq!(report.met(Case::RootOneCopy), rotten.len() == 1, "{report:?}");
        assert_eq!(opened.store.root().sequence < bench.store.root().sequence, lost);
        assert!(Case::RootLost.warning().is_some());
    }
}

/// Small epochs have a root for four segments of them, and no more.
#[test]
fn roots_of_small_epochs_are_far_apart() {
    let mut bench = Bench::new(4096, LAZY);
    let first = bench.epoch([(1, 0)]);
    // Of the first epoch of a store there is one.
    assert_eq!(bench.store.vouched(), first);
    let mut vouched = vec![first];
    let before = bench.store.status().blocks_written;
    for _ in 0..200 {
        bench.epoch([(1, 0)]);
        let now = bench.store.vouched();
        if vouched.last() != Some(&now) {
            vouched.push(now);
        }
    }
    let written = bench.store.status().blocks_written - before;
    let step = 4 * u64::from(OPTIONS.segment_blocks);
    assert!((written / step - 1..=written / step + 1).contains(&(vouched.len() as u64 - 1)), "{vouched:?}, {written}");
}
