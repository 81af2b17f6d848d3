//! Scripts drawn from seeds.

use crate::arena::Sizes;
use crate::disk::{Broken, CutMode, Fault};
use crate::random::Random;
use crate::script::{Change, Kind, LifePlan, Plan, Script, Turn};

impl Plan {
    /// Draws a plan: small disks, short intervals, few checkpoints, so that everything happens often.
    pub fn draw(random: &mut Random) -> Self {
        let segment_blocks = if random.chance(50) { 8 } else { 16 };
        let sizes = Sizes {
            blocks: random.within(160, 420) as usize,
            segment_blocks,
            entries: 600,
            cells: 900,
            deferred: random.within(1, 64) as usize,
            caller_pages: 40,
        };
        // Now and then more than the disk can hold.
        let too_much = random.chance(4);
        Self {
            sizes,
            recent_epochs: random.below(4) as u8,
            checkpoints: random.within(1, 4) as u8,
            interval_entries: random.within(8, 60) as u32,
            interval_descriptors: random.within(2, 12) as u32,
            verify_pages: random.within(2, 24) as u32,
            world: random.bits(),
            root_slots: random.within(2, 4) as u32,
            disk_seed: random.bits(),
            objects: random.within(1, 3),
            indices: if too_much { random.within(100, 300) } else { random.within(4, 16) },
            changes: if too_much { random.within(16, 60) } else { random.within(1, 16) },
        }
    }
}

impl Script {
    /// The run of `kind` that `seed` stands for, with up to `lives` cuts.
    pub fn draw(kind: Kind, seed: u64, lives: u32) -> Self {
        let salt = match kind {
            Kind::Plain | Kind::Every => 0,
            Kind::Faulty => 0x6661_756c_7479,
            Kind::RottenMap => 0x7477_696e,
            Kind::Worn => 0x776f_726e,
            Kind::Room => 0x726f_6f6d,
            Kind::Records => 0x7265_636f,
        };
        let mut random = Random::new(seed ^ salt);
        let random = &mut random;
        let mut plan = Plan::draw(random);
        match kind {
            Kind::Room => room(&mut plan, random),
            Kind::Records => records(&mut plan, random),
            _ => {}
        }
        let fault = if kind == Kind::Plain && random.chance(33) { nuisance(random) } else { Fault::default() };
        let lives = match kind {
            Kind::Every => vec![whole_workload(&plan, random)],
            _ => (0..lives).map(|number| life(kind, &plan, fault, number == 0, random)).collect(),
        };
        Self { kind, seed, broken: Broken::No, in_order: false, plan, lives }
    }
}

/// Faults that a store has to get over without anybody noticing.
fn nuisance(random: &mut Random) -> Fault {
    Fault {
        write_error: random.below(100),
        read_error: random.below(100),
        command_lost: random.below(100),
        reset: random.below(60),
        ..Fault::default()
    }
}

/// A disk too small for its world: far more pages than fit.
fn room(plan: &mut Plan, random: &mut Random) {
    plan.sizes.blocks = random.within(700, 1200) as usize;
    plan.sizes.entries = random.within(500, 1500) as usize;
    (plan.objects, plan.indices, plan.changes) = (4, 300, 60);
}

/// A disk too small for its records, of which there are far more than fit.
fn records(plan: &mut Plan, random: &mut Random) {
    plan.sizes.blocks = random.within(250, 1000) as usize;
    plan.sizes.entries = random.within(600, 1500) as usize;
    plan.sizes.cells = random.within(1500, 4000) as usize;
    (plan.objects, plan.indices, plan.changes) = (4, 60, 12);
}

fn life(kind: Kind, plan: &Plan, fault: Fault, formatting: bool, random: &mut Random) -> LifePlan {
    let (cut, epochs_max, fault) = match kind {
        // Some cuts hit the opening, the incarnation, the first epoch; the others anything.
        Kind::Plain | Kind::Every => {
            let early = !formatting && random.chance(30);
            (Some(if early { random.below(40) } else { random.below(200) }), 60, fault)
        }
        Kind::RottenMap => (Some(random.below(300)), 60, fault),
        Kind::Worn => (None, 60, fault),
        Kind::Room | Kind::Records => (Some(random.below(3000)), 120, fault),
        Kind::Faulty => {
            let fault = Fault { lost_write: random.below(60), misdirected: random.below(60), ..fault };
            (None, 40, fault)
        }
    };
    let epochs = random.within(1, epochs_max);
    let drawn = match kind {
        Kind::Room => room_turn,
        Kind::Records => records_turn,
        _ => turn,
    };
    let turns = (0..epochs).map(|_| drawn(plan, random)).collect();
    let rotten = if kind == Kind::Faulty && random.chance(50) { random.within(1, 4) } else { 0 };
    let writes = (kind == Kind::Worn).then(|| random.below(120));
    let mode = CutMode::ALL[random.below(CutMode::ALL.len() as u64) as usize];
    let seed = random.bits();
    let rot = (0..rotten).map(|_| (random.below(plan.sizes.blocks as u64), random.below(4096 * 8))).collect();
    let mut seldom = Random::new(seed ^ 0x6261_6421);
    let bad = if kind == Kind::Faulty && seldom.chance(12) { seldom.within(1, 3) } else { 0 };
    LifePlan {
        // A format is not disturbed: a store whose format was cut was never there.
        fault: if formatting && kind == Kind::Plain { Fault::default() } else { fault },
        cut,
        writes,
        turns,
        mode,
        seed,
        rot,
        bad: (0..bad).map(|_| seldom.below(plan.sizes.blocks as u64)).collect(),
        probed: false,
    }
}

/// One life without a cut.
fn whole_workload(plan: &Plan, random: &mut Random) -> LifePlan {
    let count: u64 = (0..3).map(|_| random.within(1, 24)).sum();
    let turns = (0..count).map(|_| turn(plan, random)).collect();
    let (fault, mode, rot, bad) = (Fault::default(), CutMode::Lost, Vec::new(), Vec::new());
    LifePlan { fault, cut: None, writes: None, turns, mode, seed: random.bits(), rot, bad, probed: false }
}

fn turn(plan: &Plan, random: &mut Random) -> Turn {
    let changes = if random.chance(10) { 0 } else { random.within(1, plan.changes) };
    Turn {
        changes: (0..changes).map(|_| change(plan, random)).collect(),
        spare: random.below(plan.objects),
        settle: random.chance(50),
        look: random.chance(10).then(|| (random.below(plan.objects), random.below(plan.indices))),
        retire: random.chance(2),
    }
}

/// Many pages, some records, now and then an object that could go.
fn room_turn(plan: &Plan, random: &mut Random) -> Turn {
    let pages = random.within(1, plan.changes);
    let page = |random: &mut Random| Change::Page(random.below(plan.objects), random.below(plan.indices));
    let mut changes: Vec<Change> = (0..pages).map(|_| page(random)).collect();
    for _ in 0..random.below(6) {
        changes.push(Change::Record(1, random.below(60) as u32, random.within(1, 150) as u32));
    }
    if random.chance(30) {
        changes.push(Change::DropObject(random.below(plan.objects)));
    }
    Turn { changes, ..Turn::default() }
}

/// Records of all sizes, most of them the largest; now and then many that could go, and an object.
fn records_turn(plan: &Plan, random: &mut Random) -> Turn {
    let page = |random: &mut Random| Change::Page(random.below(plan.objects), random.below(plan.indices));
    // Now and then as many pages as there is room for.
    let pages = if random.chance(25) { 250 } else { random.below(plan.changes) };
    let mut changes: Vec<Change> = (0..pages).map(|_| page(random)).collect();
    for _ in 0..random.within(1, 60) {
        let length = match random.below(5) {
            0 => random.within(1, 40),
            1 => random.within(1, 1024),
            2 => random.within(860, 1024),
            _ => 1024,
        };
        changes.push(Change::Record(random.below(2) as u16, random.below(120) as u32, length as u32));
    }
    if random.chance(30) {
        changes.push(Change::DropObject(random.below(plan.objects)));
        changes.extend((0..60).map(|_| Change::Remove(random.below(2) as u16, random.below(120) as u32)));
    }
    Turn { changes, ..Turn::default() }
}

fn change(plan: &Plan, random: &mut Random) -> Change {
    let (object, index) = (random.below(plan.objects), random.below(plan.indices));
    match random.below(20) {
        0 => Change::Zero(object, index, random.within(1, 8)),
        1 => Change::Drop(object, index, random.within(1, 8)),
        2 if random.chance(20) => Change::DropObject(object),
        3..=6 => {
            let longest = if random.chance(10) { 1024 } else { 150 };
            Change::Record(random.below(3) as u16, random.below(12) as u32, random.within(1, longest) as u32)
        }
        7 => Change::Remove(random.below(3) as u16, random.below(12) as u32),
        _ => Change::Page(object, index),
    }
}
