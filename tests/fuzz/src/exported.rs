//! The reader of exported worlds over a file to which anything happened: only what was exported passes.

use world::portable;

use crate::Source;

/// A world in a file, as each version wrote it.
const FILES: [&[u8]; 2] = [
    include_bytes!("../../../tools/world/tests/golden/export-1.world"),
    include_bytes!("../../../tools/world/tests/golden/export-2.world"),
];

fn spoil(file: &mut Vec<u8>, source: &mut Source<'_>) {
    let at = source.below(file.len());
    match source.byte() % 6 {
        0 => file.truncate(at),
        1 => {
            let (from, length) = (source.below(file.len()), source.below(256));
            let length = length.min(file.len() - from).min(file.len() - at);
            file.copy_within(from..from + length, at);
        }
        2 | 3 => {
            // A field of the head or of an item: kinds, lengths, counts.
            let field = [at % 96, at][usize::from(source.byte() % 2)] / 4 * 4;
            let value = (source.number() as u32).to_le_bytes();
            file.iter_mut().skip(field).zip(value).for_each(|(byte, new)| *byte = new);
        }
        4 => {
            let more: Vec<u8> = (0..source.below(64)).map(|_| source.byte()).collect();
            file.splice(at..at, more);
        }
        _ => file[at] ^= 1 << (source.byte() % 8),
    }
}

pub(crate) fn run(input: &[u8]) -> Result<(), String> {
    let mut source = Source::new(input);
    let whole = FILES[usize::from(source.byte()) % FILES.len()];
    let mut file = whole.to_vec();
    for _ in 0..source.byte() % 8 {
        if !file.is_empty() {
            spoil(&mut file, &mut source);
        }
    }
    match portable::check(&mut file.as_slice()) {
        Ok(_) if !file.starts_with(whole) => Err("a file that was changed passes for whole".into()),
        Err(error) if file.starts_with(whole) => Err(format!("a whole file is refused: {error}")),
        _ => Ok(()),
    }
}
