//! Nodes of the page map: a tree ordered by key whose leaves hold items and whose parents hold their children's
//! checksums. Nodes are never changed in place.
//!
//! ```text
//! leaf   | head 32 bytes | items, ascending …                           | zeroes |
//! inner  | head 32 bytes | (first key, pointer) of 48 bytes, ascending … | zeroes |
//! ```

use abi::Epoch;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{BLOCK_SIZE, Block, BlockBytes, Pointer, RawPointer, is_zero};
use crate::checksum::{Seal, World};
use crate::geometry::Geometry;
use crate::item::{Item, ItemError, ItemIter, Key};

const MAGIC: [u8; 8] = *b"PERNMAP1";
const HEAD: usize = size_of::<RawNode>();
const CHILD: usize = size_of::<RawChild>();

/// Bytes of items or children that a node holds.
pub const NODE_BODY_BYTES: usize = BLOCK_SIZE - HEAD;
/// Highest level of a node; leaves are level 0. Ten levels hold more than any disk.
pub const NODE_LEVEL_MAX: u8 = 9;

/// The head of a node as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawNode {
    /// "PERNMAP1".
    pub magic: [u8; 8],
    /// The checkpoint's epoch for which it was written.
    pub epoch: U64,
    /// Items or children.
    pub count: U32,
    /// Bytes of the body that are used.
    pub used: U16,
    /// Level; 0 is a leaf.
    pub level: u8,
    /// Zero.
    pub reserved: [u8; 9],
}

/// A child of an inner node as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawChild {
    /// [`Key::object`] of the first item below.
    pub object: U64,
    /// [`Key::index`] of the first item below.
    pub index: U64,
    /// Where it lies.
    pub pointer: RawPointer,
}

const _: () = assert!(HEAD == 32 && CHILD == 48);

/// Why a block is not the node that its parent points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeError {
    /// Its contents do not hash to what the parent says.
    Damaged,
    /// Sound, but not a node of the level expected, or with a head that contradicts itself.
    Head,
    /// Sound, but an item is none, or cannot be in a leaf.
    Item(ItemError),
    /// Sound, but not in ascending order, or overlapping.
    Order(Key),
    /// Sound, but something in it lies outside the data blocks.
    Place(Block),
}

/// A node whose checksum and contents have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    level: u8,
    count: u32,
    body: &'a [u8],
}

impl<'a> Node<'a> {
    /// Checks the block that `pointer` points to and that should be of `level`.
    pub fn parse(
        world: World,
        geometry: &Geometry,
        pointer: &Pointer,
        level: u8,
        bytes: &'a BlockBytes,
    ) -> Result<Self, NodeError> {
        if Seal::Node.checksum(world, pointer.block, pointer.epoch, bytes) != pointer.sum {
            return Err(NodeError::Damaged);
        }
        let node = Self::view(bytes).ok_or(NodeError::Head)?;
        let (raw, body) = RawNode::ref_from_prefix(bytes.as_slice()).map_err(|_| NodeError::Head)?;
        let tail = &body[node.body.len()..];
        if node.level != level || raw.epoch.get() != pointer.epoch.bits() || raw.reserved != [0; 9] || !is_zero(tail) {
            return Err(NodeError::Head);
        }
        if level == 0 {
            node.check_items(geometry)?
        } else {
            node.check_children(geometry, pointer.block)?
        }
        Ok(node)
    }

    /// The node in a block that [`Node::parse`] has accepted before; of other blocks nothing is promised but that
    /// reading it ends.
    pub fn view(bytes: &'a BlockBytes) -> Option<Self> {
        let (raw, body) = RawNode::ref_from_prefix(bytes.as_slice()).ok()?;
        if raw.magic != MAGIC || raw.level > NODE_LEVEL_MAX {
            return None;
        }
        Some(Self { level: raw.level, count: raw.count.get(), body: body.get(..usize::from(raw.used.get()))? })
    }

    fn check_items(&self, geometry: &Geometry) -> Result<(), NodeError> {
        let count = ItemIter::new(self.body).check_all().map_err(NodeError::Item)?;
        if count != self.count || count == 0 {
            return Err(NodeError::Head);
        }
        let mut past = Key::default();
        for item in self.items() {
            let key = item.key();
            if key < past {
                return Err(NodeError::Order(key));
            }
            past = Key { object: key.object, index: key.index + item.count() };
            match item {
                Item::Absent { .. } => return Err(NodeError::Item(ItemError::Kind(3))),
                Item::Page { place, .. } if !geometry.is_data(place.block) => {
                    return Err(NodeError::Place(place.block));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_children(&self, geometry: &Geometry, own: Block) -> Result<(), NodeError> {
        if self.body.len() != self.count as usize * CHILD || self.count == 0 {
            return Err(NodeError::Head);
        }
        let mut last: Option<Key> = None;
        for position in 0..self.count {
            let (key, pointer) = self.child(position).ok_or(NodeError::Head)?;
            if last.is_some_and(|last| key <= last) {
                return Err(NodeError::Order(key));
            }
            last = Some(key);
            let twin = pointer.to_twin().map(|twin| twin.block);
            for block in [Some(pointer.block), twin].into_iter().flatten() {
                if !geometry.is_data(block) || block == own {
                    return Err(NodeError::Place(block));
                }
            }
        }
        Ok(())
    }

    /// Its level; 0 is a leaf.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Items or children.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of its body that are used.
    pub fn used(&self) -> usize {
        self.body.len()
    }

    /// The items of a leaf.
    pub fn items(&self) -> ItemIter<'a> {
        ItemIter::new(self.body)
    }

    /// The items of a leaf from byte `offset` of its body, where one begins.
    pub fn items_from(&self, offset: usize) -> ItemIter<'a> {
        ItemIter::new(self.body.get(offset..).unwrap_or_default())
    }

    /// First key and pointer of child `position` of an inner node.
    pub fn child(&self, position: u32) -> Option<(Key, Pointer)> {
        let start = (position as usize).checked_mul(CHILD)?;
        let (raw, _) = RawChild::ref_from_prefix(self.body.get(start..)?).ok()?;
        let pointer = raw.pointer.check(u32::MAX)?;
        pointer.block.is_some().then_some((Key { object: raw.object.get(), index: raw.index.get() }, pointer))
    }

    /// The last child whose first key is not beyond `key`.
    pub fn find_child(&self, key: Key) -> Option<u32> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.child(middle)?.0 <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }

    /// The item of a leaf that speaks of `key`.
    pub fn find_item(&self, key: Key) -> Option<Item<'a>> {
        for item in self.items() {
            let first = item.key();
            if first > key {
                return None;
            }
            if first.object == key.object && key.index - first.index < item.count() {
                return Some(item);
            }
        }
        None
    }
}

/// Fills a block as a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeWriter {
    level: u8,
    count: u32,
    used: usize,
    first: Key,
    has_records: bool,
}

impl NodeWriter {
    /// Starts a node of `level` in `bytes`.
    pub fn start(bytes: &mut BlockBytes, level: u8) -> Self {
        bytes.fill(0);
        Self { level, count: 0, used: 0, first: Key::default(), has_records: false }
    }

    /// Items or children so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the body used so far.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Key of the first; meaningless while empty.
    pub fn first(&self) -> Key {
        self.first
    }

    /// Its level.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Whether it is a leaf that holds a record.
    pub fn has_records(&self) -> bool {
        self.has_records
    }

    /// Appends an item to a leaf; false, and nothing changed, when it does not fit.
    pub fn push_item(&mut self, bytes: &mut BlockBytes, item: &Item<'_>) -> bool {
        debug_assert!(self.level == 0);
        if !item.write(&mut bytes[HEAD + self.used..]) {
            return false;
        }
        self.has_records |= matches!(item, Item::Record { .. });
        self.grew(item.key(), item.stored_bytes());
        true
    }

    /// Appends a child to an inner node; false, and nothing changed, when it does not fit.
    pub fn push_child(&mut self, bytes: &mut BlockBytes, first: Key, pointer: &Pointer) -> bool {
        debug_assert!(self.level > 0);
        let raw = RawChild {
            object: U64::new(first.object),
            index: U64::new(first.index),
            pointer: RawPointer::new(*pointer),
        };
        let start = HEAD + self.used;
        let Some(out) = bytes.get_mut(start..start + CHILD) else {
            return false;
        };
        out.copy_from_slice(raw.as_bytes());
        self.grew(first, CHILD);
        true
    }

    fn grew(&mut self, key: Key, bytes: usize) {
        if self.count == 0 {
            self.first = key;
        }
        self.count += 1;
        self.used += bytes;
    }

    /// The child of an inner node that has just one.
    pub fn only_child(&self, bytes: &BlockBytes) -> Option<Pointer> {
        if self.level == 0 || self.count != 1 {
            return None;
        }
        Node { level: self.level, count: 1, body: &bytes[HEAD..HEAD + self.used] }.child(0).map(|(_, pointer)| pointer)
    }

    /// Writes the head for `at` and returns the pointer that its parent keeps.
    pub fn seal(&self, bytes: &mut BlockBytes, world: World, at: Block, epoch: Epoch) -> Pointer {
        let raw = RawNode {
            magic: MAGIC,
            epoch: U64::new(epoch.bits()),
            count: U32::new(self.count),
            used: U16::new(self.used as u16),
            level: self.level,
            reserved: [0; 9],
        };
        bytes[..HEAD].copy_from_slice(raw.as_bytes());
        Pointer::single(at, epoch, Seal::Node.checksum(world, at, epoch, bytes))
    }
}
