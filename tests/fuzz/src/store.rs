//! Recovery of a store from a disk on which anything happened to a sound image: it opens or refuses, and never gives a
//! page or record that it has not verified.

use std::sync::OnceLock;

use storesim::{Ended, History, LifeError, golden};

use crate::Source;
use crate::spoil::{spoil, used};

struct Golden {
    image: Vec<u8>,
    history: History,
    used: Vec<usize>,
}

fn made() -> Option<&'static Golden> {
    static MADE: OnceLock<Option<Golden>> = OnceLock::new();
    let make = || {
        let (packed, history) = golden::make()?;
        let image = golden::unpack(&packed);
        let used = used(&image);
        Some(Golden { image, history, used })
    };
    MADE.get_or_init(make).as_ref()
}

pub(crate) fn run(input: &[u8]) -> Result<(), String> {
    let mut source = Source::new(input);
    let golden = made().ok_or("no image")?;
    let mut image = golden.image.clone();
    spoil(&mut image, &golden.used, &mut source);
    match golden::survive(&image, golden.history.clone()) {
        Ok(()) | Err(Ok(Ended::Refused(_) | Ended::Stopped(_) | Ended::Full)) => Ok(()),
        // Blocks that moved are an older store's, and an older epoch is all that they prove.
        Err(Err(LifeError::WrongEpoch(opened, _))) if golden.history.model(opened).is_some() => Ok(()),
        Err(what) => Err(format!("{what:?}")),
    }
}
