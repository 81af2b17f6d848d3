//! The protocol of commit, release and checkpoint as a model, explored to closure over a disk that loses and reorders
//! whatever was not flushed.
//!
//! The store's code is checked by running it; this checks that the *rules* suffice: which block may be reused when, and
//! which epoch an opening may believe. Small epochs are committed with one write and one flush, and an opening looks at
//! their pages; the descriptor of a large one goes out when its pages are durable, beside what the next epoch writes, and
//! its pages are believed. Epochs may overlap; pages are one word, their version. Left out: torn blocks (a checksum
//! makes of them lost ones) and the structure of the map.

use stateright::{Checker, HasDiscoveries, Model, Property};

const ACKNOWLEDGED: &str = "an acknowledged epoch is never lost";
const EXACT: &str = "what is opened is exactly an epoch that was sealed";
const KEPT: &str = "the newest checkpoint can be booted";

const KEYS: usize = 2;
const BLOCKS: usize = 4;
const EPOCHS: u8 = 5;
/// Epochs sealed and not committed at once.
const UNCOMMITTED: u8 = 2;

type Version = u8;
/// Where the current version of each key lies.
type Map = [Option<usize>; KEYS];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Descriptor {
    key: usize,
    block: usize,
    /// Of a large epoch: an opening does not look at its page.
    large: bool,
    /// Newest epoch known durable when it was written.
    durable: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Root {
    sequence: u8,
    epoch: Version,
    map: Map,
    versions: [Version; KEYS],
}

/// What is on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Medium {
    /// Of each block the version of the page in it.
    pages: [Version; BLOCKS],
    /// By epoch.
    log: [Option<Descriptor>; EPOCHS as usize + 1],
    /// Two slots, each in two copies.
    roots: [[Option<Root>; 2]; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Write {
    Page(usize, Version),
    Log(Version, Descriptor),
    Root(usize, Root),
}

impl Medium {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Page(block, version) => self.pages[*block] = *version,
            Write::Log(epoch, descriptor) => self.log[*epoch as usize] = Some(*descriptor),
            Write::Root(copy, root) => self.roots[root.sequence as usize % 2][*copy] = Some(*root),
        }
    }

    /// Whether the newest checkpoint can be booted: all that it needs is what it was.
    fn checkpoint_is_whole(&self) -> bool {
        let root = self.roots.iter().flatten().flatten().max_by_key(|root| root.sequence);
        root.is_none_or(|root| {
            (0..KEYS).all(|key| root.map[key].is_none_or(|block| self.pages[block] == root.versions[key]))
        })
    }

    /// What an opening does: the newest root, the log behind it to its end, the newest epoch that is proven or whole.
    fn open(&self) -> (Version, [Version; KEYS]) {
        let root = self.roots.iter().flatten().flatten().max_by_key(|root| root.sequence);
        let (start, map, versions) = root.map_or((0, [None; KEYS], [0; KEYS]), |r| (r.epoch, r.map, r.versions));
        let mut end = start;
        let mut durable = start;
        while let Some(Some(found)) = self.log.get(end as usize + 1) {
            end += 1;
            durable = durable.max(found.durable);
        }
        loop {
            let (mut places, mut expected, mut fresh) = (map, versions, [false; KEYS]);
            for epoch in start + 1..=end {
                if let Some(found) = &self.log[epoch as usize] {
                    (places[found.key], expected[found.key]) = (Some(found.block), epoch);
                    fresh[found.key] = epoch > durable && !found.large;
                }
            }
            // Only pages that are alive at the end of what is unproven are looked at.
            let whole =
                (0..KEYS).all(|key| !fresh[key] || places[key].is_some_and(|block| self.pages[block] == expected[key]));
            if whole || end <= durable {
                let read = core::array::from_fn(|key| places[key].map_or(0, |block| self.pages[block]));
                return (end, read);
            }
            end -= 1;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    medium: Medium,
    cache: Vec<Write>,
    /// The descriptor that waits for what was written before it.
    late: Option<(Version, Descriptor)>,
    /// Writes covered by the flush under way.
    flushing: Option<usize>,
    sealed: Version,
    head: Version,
    map: Map,
    versions: [Version; KEYS],
    /// Version of each key at each epoch.
    history: Vec<[Version; KEYS]>,
    used: [bool; BLOCKS],
    /// Blocks that the newest checkpoint needs.
    kept: [bool; BLOCKS],
    /// Blocks replaced, and by which epoch.
    dead: Vec<(usize, Version)>,
    root: u8,
    /// Epoch of the root in the cache.
    pending: Option<Root>,
}

impl State {
    /// What may be on the medium when the power goes now: of the cache any part.
    fn cuts(&self) -> impl Iterator<Item = Medium> {
        (0..1u32 << self.cache.len()).map(|kept| {
            let mut medium = self.medium;
            let written = self.cache.iter().enumerate().filter(|(position, _)| kept & (1 << position) != 0);
            written.for_each(|(_, write)| medium.apply(write));
            medium
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Seal(usize),
    /// An epoch whose descriptor is late.
    SealLarge(usize),
    Late,
    Flush,
    Flushed,
    Checkpoint,
}

/// The rules, or rules with one left out, to see that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    Right,
    /// Blocks are reused as soon as the epoch that replaced them is sealed.
    ReuseBeforeCommit,
    /// A block that the newest checkpoint needs is reused like any other.
    CheckpointForgotten,
    /// The descriptor of a large epoch goes out with its pages.
    NoBarrier,
    /// An epoch is acknowledged when all that it wrote is durable, its predecessor's descriptor or no.
    OutOfOrder,
}

struct Protocol(Rules);

impl Protocol {
    fn release(&self, state: &mut State) {
        let limit = if self.0 == Rules::ReuseBeforeCommit { state.sealed } else { state.head };
        let kept = if self.0 == Rules::CheckpointForgotten { [false; BLOCKS] } else { state.kept };
        let (free, dead) = state.dead.drain(..).partition(|(block, epoch)| *epoch <= limit && !kept[*block]);
        state.dead = dead;
        for (block, _) in free as Vec<(usize, Version)> {
            state.used[block] = false;
        }
    }

    fn seal(&self, state: &mut State, key: usize, large: bool) -> Option<()> {
        let block = state.used.iter().position(|used| !used)?;
        state.sealed += 1;
        let epoch = state.sealed;
        if let Some(old) = state.map[key].replace(block) {
            state.dead.push((old, epoch));
        }
        state.used[block] = true;
        state.versions[key] = epoch;
        state.history.push(state.versions);
        let descriptor = Descriptor { key, block, large, durable: state.head };
        if large {
            state.late = Some((epoch, descriptor));
        } else {
            state.cache.push(Write::Log(epoch, descriptor));
        }
        state.cache.push(Write::Page(block, epoch));
        self.release(state);
        Some(())
    }

    /// Whether all that was written before the late descriptor is durable.
    fn late_is_due(&self, state: &State) -> bool {
        let before = |epoch: Version, write: &Write| match write {
            Write::Page(_, version) | Write::Log(version, _) => *version <= epoch,
            Write::Root(..) => true,
        };
        let late = state.late.as_ref();
        late.is_some_and(|(epoch, _)| {
            self.0 == Rules::NoBarrier || !state.cache.iter().any(|write| before(*epoch, write))
        })
    }

    fn flushed(&self, state: &mut State) -> Option<()> {
        let covered = state.flushing.take()?;
        for write in state.cache.drain(..covered).collect::<Vec<_>>() {
            state.medium.apply(&write);
            if let Write::Root(1, root) = write {
                state.pending = None;
                state.kept = [false; BLOCKS];
                root.map.into_iter().flatten().for_each(|block| state.kept[block] = true);
            }
        }
        let durable = |epoch: &Version| {
            let page = |write: &Write| matches!(write, Write::Page(_, version) if version == epoch);
            state.medium.log[*epoch as usize].is_some() && !state.cache.iter().any(page)
        };
        let mut news = state.head + 1..=state.sealed;
        let newest = match self.0 {
            Rules::OutOfOrder => news.rfind(durable),
            _ => news.take_while(durable).last(),
        };
        state.head = newest.unwrap_or(state.head);
        self.release(state);
        Some(())
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            medium: Medium { pages: [0; BLOCKS], log: Default::default(), roots: [[None; 2]; 2] },
            cache: Vec::new(),
            late: None,
            flushing: None,
            sealed: 0,
            head: 0,
            map: [None; KEYS],
            versions: [0; KEYS],
            history: vec![[0; KEYS]],
            used: [false; BLOCKS],
            kept: [false; BLOCKS],
            dead: Vec::new(),
            root: 0,
            pending: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.sealed < EPOCHS && state.sealed - state.head < UNCOMMITTED && state.used.contains(&false) {
            actions.extend((0..KEYS).map(Action::Seal));
            if state.late.is_none() {
                actions.extend((0..KEYS).map(Action::SealLarge));
            }
        }
        if self.late_is_due(state) {
            actions.push(Action::Late);
        }
        if state.flushing.is_none() && !state.cache.is_empty() {
            actions.push(Action::Flush);
        }
        if state.flushing.is_some() {
            actions.push(Action::Flushed);
        }
        // A checkpoint of what is durable, when nothing newer is on its way.
        if state.pending.is_none() && state.sealed == state.head && state.head > 0 && state.root < 2 {
            actions.push(Action::Checkpoint);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Seal(key) => self.seal(&mut state, key, false)?,
            Action::SealLarge(key) => self.seal(&mut state, key, true)?,
            Action::Late => {
                let (epoch, descriptor) = state.late.take()?;
                state.cache.push(Write::Log(epoch, descriptor));
            }
            Action::Flush => state.flushing = Some(state.cache.len()),
            Action::Flushed => self.flushed(&mut state)?,
            Action::Checkpoint => {
                state.root += 1;
                let root = Root { sequence: state.root, epoch: state.head, map: state.map, versions: state.versions };
                state.pending = Some(root);
                state.cache.push(Write::Root(0, root));
                state.cache.push(Write::Root(1, root));
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ACKNOWLEDGED, |_, state: &State| state.cuts().all(|medium| medium.open().0 >= state.head)),
            Property::always(EXACT, |_, state: &State| {
                state.cuts().map(|medium| medium.open()).all(|(epoch, read)| state.history[epoch as usize] == read)
            }),
            Property::always(KEPT, |_, state: &State| state.cuts().all(|medium| medium.checkpoint_is_whole())),
            Property::sometimes("a block is used again", |_, state: &State| {
                state.sealed as usize > BLOCKS && state.head > 0
            }),
            Property::sometimes("an unacknowledged epoch is found whole", |_, state: &State| {
                state.cuts().any(|medium| medium.open().0 > state.head)
            }),
            Property::sometimes("an epoch is written before the one that it needs", |_, state: &State| {
                let late = state.late.as_ref().map_or(Version::MAX, |(epoch, _)| *epoch);
                state.medium.log.iter().skip(late as usize).any(Option::is_some)
            }),
        ]
    }
}

#[test]
fn commit_release_and_checkpoint_hold_to_closure() {
    let checker = Protocol(Rules::Right).checker().spawn_bfs().join();
    let states = format!("{} states, {} visits", checker.unique_state_count(), checker.state_count());
    println!("{states}");
    crate::progress::note("model of commit and retire", &states);
    checker.assert_properties();
    assert!(checker.unique_state_count() > 1_000_000);
}

#[test]
fn a_rule_left_out_is_noticed() {
    for rules in [Rules::ReuseBeforeCommit, Rules::CheckpointForgotten, Rules::NoBarrier, Rules::OutOfOrder] {
        let checker = Protocol(rules).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let noticed = [ACKNOWLEDGED, EXACT, KEPT].iter().any(|name| checker.discovery(name).is_some());
        assert!(noticed, "{rules:?}");
    }
}
