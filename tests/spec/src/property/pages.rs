//! Properties of pages.

use super::{Verdict, require};
use crate::model::Model;
use crate::sim::Sim;

/// P14: what a CPU could write through, by the rules of the hardware, is a page that is open; and what is open in the world
/// is a frame whose first write of the running epoch has been settled, or that is in no epoch.
pub fn written_in_its_epoch(model: &Model, sim: &Sim) -> Verdict {
    for (cpu, state) in model.cpus.iter().enumerate() {
        let root = sim.m.loaded.get(&cpu).copied().flatten();
        let process = state.runs.map(|thread| model.threads[&thread].process);
        for (&(_, address), mapping) in model.pages.maps.iter().filter(|((of, _), _)| Some(*of) == process) {
            let found = root.and_then(|root| sim.m.translate(root, address));
            require(found == Some((mapping.frame, mapping.open)), || {
                format!("pages: CPU {cpu} finds {found:?} at {address:#x}, where there is {mapping:?}")
            })?;
        }
    }
    for (&(process, address), mapping) in model.pages.maps.iter().filter(|(_, mapping)| mapping.open) {
        let settled = !model.is_world_process(process) || model.pages.is_writable_now(mapping.frame);
        require(settled && mapping.may_write, || {
            format!("pages: process {process} writes {address:#x} in an older epoch: {mapping:?}")
        })?;
    }
    Ok(())
}

/// P14: what a frame held at the cut is still there until the pager says that it is durable: in the frame, as long as it
/// has not been written, else in the one copy that the log names. No frame is logged twice in an epoch.
pub fn frozen_is_kept(model: &Model, sim: &Sim) -> Verdict {
    let pages = &model.pages;
    let (frozen, cut_at) = &sim.frozen;
    let tail = pages.log_head - pages.log.len() as u64;
    let logged = |frame: u32| {
        let positioned = (tail..).zip(&pages.log);
        positioned.filter(move |&(at, entry)| at >= *cut_at && entry.0 == frame).map(|(_, &(_, copy))| copy)
    };
    let holds = |frame: u32| pages.contents.get(&frame).copied().unwrap_or_default();
    for (&frame, &(_, now)) in &pages.frames {
        let (entries, seen) = (logged(frame).count(), tail <= *cut_at);
        require(entries <= 1 && (!now || !seen || entries == 1), || {
            format!("first writes: frame {frame} is logged {entries} times in this epoch")
        })?;
        let Some(&kept) = frozen.get(&frame) else { continue };
        let found = if now { logged(frame).next() } else { Some(frame) };
        require(found.is_none_or(|found| found != 0 && holds(found) == kept), || {
            format!("first writes: frame {frame} held {kept} at the cut, which is lost: {found:?}")
        })?;
    }
    Ok(())
}
