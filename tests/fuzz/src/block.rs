//! Blocks of the store: every parser over anything, with and without a checksum that fits.

use abi::Epoch;
use format::{
    BLOCK_SIZE, Block, BlockBytes, Descriptor, Geometry, Header, Key, NODE_LEVEL_MAX, Node, Pointer, Root, Seal,
    SpaceIndex, World,
};

use crate::Source;

const WORLD: World = World(0x77);
const MAGICS: [&[u8; 8]; 6] = [b"PERENNIA", b"PERNROOT", b"PERNLOG1", b"PERNMAP1", b"PERNSPAC", b"\0\0\0\0\0\0\0\0"];

fn require(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn tree(geometry: &Geometry, at: Block, level: u8, bytes: &BlockBytes) -> Result<(), String> {
    let epoch = Epoch::first_of(3).ok_or("no epoch")?;
    // Whoever writes a hostile block writes its checksum too.
    let pointer = Pointer::single(at, epoch, Seal::Node.checksum(WORLD, at, epoch, bytes));
    if let Ok(node) = Node::parse(WORLD, geometry, &pointer, level, bytes) {
        let children = (0..node.count()).filter_map(|position| node.child(position)).count();
        let found = if level == 0 { node.items().count() } else { children };
        require(found == node.count() as usize, "a node holds what it says")?;
        let _ = (node.find_child(Key { object: 1, index: 5 }), node.find_item(Key { object: 1, index: 5 }));
    }
    let pointer = Pointer::single(at, epoch, Seal::SpaceIndex.checksum(WORLD, at, epoch, bytes));
    if let Ok(index) = SpaceIndex::parse(WORLD, geometry, &pointer, level, bytes) {
        require((0..index.count()).all(|position| index.pointer(position).is_some()), "an index holds what it says")?;
    }
    Ok(())
}

pub(crate) fn run(input: &[u8]) -> Result<(), String> {
    let mut source = Source::new(input);
    let geometry = Geometry::new(2048, 4, 16).map_err(|error| format!("{error:?}"))?;
    let at = Block(source.below(2048) as u32);
    let mut bytes = [0; BLOCK_SIZE];
    let length = source.below(BLOCK_SIZE + 1);
    bytes[..length].fill_with(|| source.byte());
    bytes[..8].copy_from_slice(MAGICS[usize::from(source.byte()) % MAGICS.len()]);
    // Heads of few bits come through more checks than noise does.
    for _ in 0..source.byte() % 24 {
        let field = source.below(128 / 4) * 4;
        bytes[field..field + 4].copy_from_slice(&(source.number() as u32).to_le_bytes());
    }
    if let Ok(header) = Header::parse(at, &bytes, 2048) {
        require(header.geometry.blocks() <= 2048, "a header fits its disk")?;
    }
    if let Ok((root, _)) = Root::parse(WORLD, &geometry, at, &bytes) {
        require(root.is_valid(&geometry), "a root that is read is valid")?;
    }
    if let Ok(found) = Descriptor::parse(WORLD, &geometry, at, &bytes) {
        require(geometry.is_data(found.head.next), "a descriptor's next is data")?;
        require(found.items().all(|item| item.check().is_ok()), "items are checked")?;
    }
    (0..=NODE_LEVEL_MAX).try_for_each(|level| tree(&geometry, at, level, &bytes))?;
    if let Some(node) = Node::view(&bytes) {
        let _ = (node.items().count(), node.find_child(Key::default()), node.find_item(Key::default()));
    }
    Ok(())
}
