//! What processes are called. Their records do not say; each has a page from which its program learned, when it began,
//! what it is and what it was given. That page is memory of the process like any other: a name is what it claims.

use std::collections::BTreeMap;

use abi::PAGE_SIZE;
use abi::protocol::memory::Badge;
use abi::protocol::startup::{RawStartup, STARTUP_ADDRESS, StartupPage};
use abi::record::Table;
use kernel_core::{Capability, Process};
use pager_records::{ObjectRecord, RegionRecord, parts_of};
use zerocopy::FromBytes;

use crate::session::{Contents, Session};

/// Objects that show through one another, at most.
const DEPTH_MAX: usize = 64;

/// The names of all processes that have one, by index.
pub fn names(session: &mut Session<'_>, contents: &Contents) -> BTreeMap<u32, String> {
    let regions = startup_regions(contents);
    let table = Table::Process as u16;
    let processes = contents.records.range((table, 0)..=(table, u32::MAX));
    processes
        .filter_map(|((_, index), bytes)| {
            let process = Process::read(bytes).ok().filter(Process::exists)?;
            // The port of its memory knows it by its space. Older worlds say so in the process's record.
            let port = contents.records.get(&(Table::Capability as u16, process.slots));
            let port = port.and_then(|bytes| Capability::read(bytes).ok()).filter(|port| port.kind().is_some());
            let badge = port.map_or(process.port_badge, |port| port.badge);
            let Some(Badge::Space(id)) = Badge::from_bits(badge) else { return None };
            let region = regions.get(&parts_of(id).0)?;
            name(session, contents, region).map(|name| (*index, name))
        })
        .collect()
}

/// Of each space the region that the page lies in.
fn startup_regions(contents: &Contents) -> BTreeMap<u32, RegionRecord> {
    let page = STARTUP_ADDRESS / PAGE_SIZE as u64;
    let table = Table::Region as u16;
    let regions = contents.records.range((table, 0)..=(table, u32::MAX)).filter_map(|(_, bytes)| {
        pager_records::read(bytes, RegionRecord::is_valid)
            .ok()
            .filter(|region| (region.page..region.end()).contains(&page))
    });
    regions.map(|region| (region.space, region)).collect()
}

fn name(session: &mut Session<'_>, contents: &Contents, region: &RegionRecord) -> Option<String> {
    let index = region.object_page + (STARTUP_ADDRESS / PAGE_SIZE as u64 - region.page);
    let mut slot = parts_of(region.object).0;
    for _ in 0..DEPTH_MAX {
        let bytes = contents.records.get(&(Table::MemoryObject as u16, slot))?;
        let object: ObjectRecord = pager_records::read(bytes, ObjectRecord::is_valid).ok()?;
        // A page that cannot be read names nobody; whoever wants to know why asks for it.
        if let Some(page) = session.page(object.content, index).ok()? {
            let (raw, _) = RawStartup::ref_from_prefix(&page).ok()?;
            let name = StartupPage::new(raw).ok()?.name();
            // It goes into pictures as it is.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            return (raw.name.is_valid() && name.bytes().all(plain)).then(|| name.to_string());
        }
        slot = object.parent;
    }
    None
}
