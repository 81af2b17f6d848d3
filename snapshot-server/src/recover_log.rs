//! Opening, second half: the log behind the checkpoint is walked to its end and replayed.

use abi::Epoch;
use format::{
    Block, DESCRIPTOR_ITEM_BYTES, Descriptor, DescriptorError, DescriptorHead, Item, ItemIter, Key, LogStart,
};

use crate::cache::Cache;
use crate::disk::Host;
use crate::layer::{Held, Layer, Value};
use crate::recovery::{AHEAD, Case, Damage, LogEnd, Recovery, Refusal, Stage, Step, Walk};
use crate::space::Space;
use crate::store::Store;

/// Segments of free blocks behind the log that an opening looks at: further apart no two descriptors of it lie, unless
/// roots vouch for both.
const BEYOND_SEGMENTS: u32 = 2;

impl<'m, H: Host> Store<'m, H> {
    /// Whether a sound descriptor is the next of the log.
    fn continues(recovery: &Recovery, head: &DescriptorHead) -> Result<(), LogEnd> {
        let walk = &recovery.walk;
        let Some((newest, _)) = &recovery.newest else {
            return Err(LogEnd::Stale);
        };
        if head.sequence != walk.at.sequence || head.previous != walk.at.previous {
            return Err(LogEnd::Stale);
        }
        // A root vouches for the checksum of what came before its part of the log.
        let vouched = [newest.log, newest.resume];
        if vouched.iter().any(|start| start.sequence == head.sequence && start.previous != head.previous) {
            return Err(LogEnd::Stale);
        }
        // Behind the point where the newest incarnation took over, only what it wrote itself is real.
        if head.sequence >= newest.resume.sequence && head.epoch.incarnation() < newest.incarnation {
            return Err(LogEnd::Abandoned);
        }
        let ordered = if walk.unfinished > 0 { head.epoch == walk.unfinished_epoch } else { head.epoch > walk.head };
        if ordered { Ok(()) } else { Err(LogEnd::Stale) }
    }

    /// Has the blocks read where the next descriptors lie if they are as far apart as the last two: epochs of one size
    /// are. A guess that fails costs a read.
    fn read_ahead(&mut self, from: Block, stride: u32) {
        let geometry = *self.space.geometry();
        if stride == 0 || stride > geometry.segment_blocks() {
            return;
        }
        for step in 1..AHEAD / 2 {
            let ahead = Block(from.0.saturating_add(step * stride));
            if geometry.is_data(ahead) {
                let _ = self.cache.fetch(&mut self.queue, &mut self.host, &Cache::raw(ahead, self.nonce));
            }
        }
    }

    pub(crate) fn recover_walk(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        let at = recovery.walk.at;
        self.read_ahead(at.block, recovery.walk.stride);
        let page = match self.fetch_raw(at.block) {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(Step::Wait),
            Err(_) => return self.recover_end(recovery, LogEnd::Unreadable),
        };
        recovery.report.blocks_read += 1;
        let geometry = *self.space.geometry();
        let parsed = Descriptor::parse(self.world, &geometry, at.block, self.host.bytes(page));
        let result = parsed
            .map_err(LogEnd::Block)
            .and_then(|found| Self::continues(recovery, &found.head).map(|()| (found.head, found.sum)));
        let (head, sum) = match result {
            Ok(found) => found,
            Err(end) => return self.recover_end(recovery, end),
        };
        if let Some((newest, _)) = &recovery.newest
            && head.epoch.incarnation() > newest.incarnation
        {
            return self.damaged(recovery, Damage::LaterIncarnation(at.block));
        }
        let walk = &mut recovery.walk;
        walk.stride = head.next.0.saturating_sub(at.block.0);
        walk.at = LogStart { block: head.next, sequence: head.sequence + 1, previous: sum };
        walk.durable = walk.durable.max(head.durable);
        walk.unfinished += 1;
        walk.unfinished_epoch = head.epoch;
        recovery.report.descriptors += 1;
        if head.flags.commit {
            walk.unfinished = 0;
            walk.head = head.epoch;
            walk.end = walk.at;
            if head.flags.barrier {
                walk.durable = walk.durable.max(head.epoch);
            }
            walk.floor = walk.floor.max(head.floor);
            if let Some((newest, _)) = &recovery.newest
                && walk.at.sequence == newest.resume.sequence
            {
                walk.vouched(head.epoch, newest.incarnation);
            }
            walk.committed(head.epoch);
            if recovery.target == Some(head.epoch) {
                recovery.asked = Some(*walk);
            }
        }
        Ok(Step::On)
    }

    /// The log ends here. Was it longer?
    pub(crate) fn recover_end(&mut self, recovery: &mut Recovery, end: LogEnd) -> Result<Step, Refusal> {
        let at = recovery.walk.at;
        let known = recovery.newest.as_ref().map_or_else(LogStart::default, |(newest, _)| newest.resume);
        if at.sequence < known.sequence || at.sequence == known.sequence && at != known {
            // An earlier opening has read what should lie here, or it was durable once, and a root says so.
            return self.damaged(recovery, Damage::Log(at.block));
        }
        recovery.report.meet(match end {
            LogEnd::Block(DescriptorError::Foreign) => Case::LogEndBlank,
            LogEnd::Block(_) => Case::LogEndTorn,
            LogEnd::Unreadable => Case::LogEndUnreadable,
            LogEnd::Stale => Case::LogEndStale,
            LogEnd::Abandoned => Case::LogEndAbandoned,
        });
        if recovery.walk.unfinished > 0 {
            recovery.report.meet(Case::EpochUnfinished);
        }
        recovery.stage = Stage::Beyond(at.block, BEYOND_SEGMENTS * self.space.geometry().segment_blocks());
        Ok(Step::On)
    }

    /// The walk is over: replays up to its end, or up to the epoch that was asked for when that is still whole.
    fn start_replay(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        if let Some(target) = recovery.target {
            let (floor, durable) = (recovery.walk.floor, recovery.walk.durable);
            match recovery.asked {
                Some(asked) if target >= floor => recovery.walk = Walk { durable, ..asked },
                _ => return Err(Refusal::NotKept(target)),
            }
            recovery.report.meet(Case::AskedFor);
        }
        Ok(self.start_trial(recovery))
    }

    /// The log is damaged where it should go on; an older epoch that was asked for may be whole all the same.
    fn damaged(&mut self, recovery: &mut Recovery, damage: Damage) -> Result<Step, Refusal> {
        if recovery.asked.is_some() {
            return self.start_replay(recovery);
        }
        if self.root.sequence < recovery.newest.as_ref().map_or(0, |(newest, _)| newest.sequence) {
            // An older root does not lead to the newest epoch: what it leads to must not pass for that.
            let damage = recovery.root_damage.unwrap_or(damage);
            return Err(Refusal::Damaged { damage, offer: recovery.older_checkpoint() });
        }
        let offer = recovery.walk.head;
        Err(Refusal::Damaged { damage, offer: (offer > Epoch::NONE).then_some(offer) })
    }

    /// Looks at the blocks into which the log may have gone on for a descriptor that proves it: then the block where it
    /// breaks off has rotted, and must not be taken for the end. `left` of them are looked at, behind `block`; what the
    /// newest checkpoint needs is none of them.
    pub(crate) fn recover_beyond(&mut self, recovery: &mut Recovery, block: Block, left: u32) -> Result<Step, Refusal> {
        let geometry = *self.space.geometry();
        let (at, head) = (recovery.walk.at, recovery.walk.head);
        // Once round the disk is enough.
        let distance = |block: Block| (block.0 + geometry.blocks() - at.block.0) % geometry.blocks();
        let behind =
            |block: Block, space: &Space<'_>| space.next_free(block).filter(|next| distance(*next) > distance(block));
        let Some(block) = behind(block, &self.space).filter(|_| left > 0) else {
            return self.start_replay(recovery);
        };
        let mut ahead = block;
        for _ in 1..AHEAD.min(left) {
            let Some(next) = behind(ahead, &self.space) else {
                break;
            };
            ahead = next;
            let _ = self.cache.fetch(&mut self.queue, &mut self.host, &Cache::raw(ahead, self.nonce));
        }
        let page = match self.fetch_raw(block) {
            Ok(None) => return Ok(Step::Wait),
            Ok(page) => page,
            Err(_) => None,
        };
        recovery.report.blocks_read += 1;
        if let Some(page) = page
            && let Ok(found) = Descriptor::parse(self.world, &geometry, block, self.host.bytes(page))
            && found.head.sequence > at.sequence
            && found.head.epoch.incarnation() == recovery.newest.as_ref().map_or(0, |(newest, _)| newest.incarnation)
            && found.head.durable > head
        {
            return self.damaged(recovery, Damage::Log(at.block));
        }
        recovery.stage = Stage::Beyond(block, left - 1);
        Ok(Step::On)
    }

    /// Applies the descriptor at the walk's place.
    pub(crate) fn recover_replay(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        let at = recovery.walk.at;
        if at.sequence == recovery.walk.end.sequence {
            recovery.stage = Stage::Done;
            return self.check_replayed(recovery);
        }
        let Some(page) = self.fetch_raw(at.block)? else {
            return Ok(Step::Wait);
        };
        let geometry = *self.space.geometry();
        let Ok(found) = Descriptor::parse(self.world, &geometry, at.block, self.host.bytes(page)) else {
            return Err(Refusal::Unreadable(at.block));
        };
        let (head, sum) = (found.head, found.sum);
        // The pool and the table change while the items are read, so the items are read from a copy.
        let mut copy = [0; DESCRIPTOR_ITEM_BYTES];
        let length = found.item_bytes().len();
        copy[..length].copy_from_slice(found.item_bytes());
        if self.space.belongs_to_checkpoint(at.block, self.interval) {
            return self.contradicted(recovery, at.block);
        }
        let floor = recovery.walk.floor;
        self.space.replay_log(at.block, self.interval);
        self.descriptors += 1;
        for item in ItemIter::new(&copy[..length]) {
            let held = self.hold(&item)?;
            self.replay_item(held, head.epoch, floor)?;
        }
        if head.flags.commit {
            self.head = head.epoch;
            recovery.report.time_ns = head.time_ns;
            if head.flags.interval_end {
                recovery.report.meet(Case::FoldInterrupted);
                let log = LogStart { block: head.next, sequence: head.sequence + 1, previous: sum };
                self.end_interval(head.epoch, head.time_ns, log);
            }
        }
        recovery.walk.at = LogStart { block: head.next, sequence: head.sequence + 1, previous: sum };
        Ok(Step::On)
    }

    /// After the replay every page of a layer lies in a block that the table gives to the layer's interval.
    fn check_replayed(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        let frozen = self.fold.frozen.map_or(0, |frozen| frozen.interval);
        let stray = self.stray(&self.active, self.interval).or_else(|| self.stray(&self.frozen, frozen));
        match stray {
            None => Ok(Step::On),
            Some(block) => self.contradicted(recovery, block),
        }
    }

    /// The first page of `layer` that does not lie in a block of `interval`.
    fn stray(&self, layer: &Layer, interval: u8) -> Option<Block> {
        let mut from = Key::default();
        while let Some(held) = self.pool.at_or_after(layer, from) {
            from = held.end();
            if let Value::Page(place, _) = held.value
                && !self.space.is_alive_in(place.block, interval)
            {
                return Some(place.block);
            }
        }
        None
    }

    fn contradicted(&mut self, recovery: &mut Recovery, block: Block) -> Result<Step, Refusal> {
        // Nothing that this log leads to can be believed, whichever epoch was asked for.
        recovery.asked = None;
        self.damaged(recovery, Damage::Contradiction(block))
    }

    /// An item for a layer.
    pub(crate) fn hold(&mut self, item: &Item<'_>) -> Result<Held, Refusal> {
        let value = match *item {
            Item::Page { place, sum, .. } => Value::Page(place, sum),
            Item::Zero { count, .. } => Value::Zero(count),
            Item::Absent { count, .. } => Value::Absent(count),
            Item::Record { bytes, .. } => self.pool.store_record(bytes).map_err(|_| Refusal::Memory)?,
        };
        Ok(Held { key: item.key(), value })
    }

    fn replay_item(&mut self, held: Held, epoch: Epoch, floor: Epoch) -> Result<(), Refusal> {
        while let Some(cut) =
            self.pool.cut_one(&mut self.active, held.key, held.count()).map_err(|_| Refusal::Memory)?
        {
            if let Value::Page(place, _) = cut.value
                && self.space.replay_death(place.block, self.interval)
            {
                self.space.defer_or_release(place.block, epoch, floor);
            }
        }
        if let Value::Page(place, _) = held.value {
            self.space.replay_birth(place.block, self.interval);
        }
        self.pool.put(&mut self.active, &held).map_err(|_| Refusal::Memory)
    }
}
