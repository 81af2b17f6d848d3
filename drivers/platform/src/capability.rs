//! The list of capabilities of a function (PCI §6.7).

use crate::config::{CAPABILITIES, COMMAND, ConfigSpace, HAS_CAPABILITIES, Place};

/// PCI Express (PCIe §7.5.3).
pub(crate) const EXPRESS: u8 = 0x10;
/// MSI-X (PCI §6.8.2).
pub(crate) const MESSAGES: u8 = 0x11;
/// Advanced Features (the reset of functions on the older bus).
pub(crate) const ADVANCED: u8 = 0x13;

/// So many fit between the header and the end of the old space; a longer list runs in circles.
const LIST_MAX: u32 = 48;
/// The header ends here.
const HEADER_END: u16 = 0x40;

/// Offset of the first capability of this kind.
pub(crate) fn find(config: &impl ConfigSpace, place: Place, kind: u8) -> Option<u16> {
    if config.read(place, COMMAND) & HAS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = (config.read(place, CAPABILITIES) & 0xfc) as u16;
    for _ in 0..LIST_MAX {
        if at < HEADER_END {
            return None;
        }
        let head = config.read(place, at);
        if head == u32::MAX {
            return None;
        }
        if head as u8 == kind {
            return Some(at);
        }
        at = (head >> 8 & 0xfc) as u16;
    }
    None
}
