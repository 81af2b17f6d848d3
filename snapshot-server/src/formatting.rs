//! Making a disk an empty store.

use format::{Geometry, Header, Root, VERSION};

use crate::disk::Host;
use crate::queue::Owner;
use crate::recovery::{Case, OpenReport, Refusal};
use crate::store::{Event, FormatOptions, Phase, Store};

/// The steps of formatting.
#[derive(Debug)]
pub(crate) struct Formatting {
    options: FormatOptions,
    position: Option<u64>,
    roots: bool,
}

impl Formatting {
    pub(crate) fn new(options: FormatOptions) -> Self {
        Self { options, position: None, roots: false }
    }
}

impl<'m, H: Host> Store<'m, H> {
    /// Formats: both headers and the first root, then what an opening would find.
    #[inline(never)]
    pub(crate) fn step_format(&mut self) -> bool {
        let Phase::Formatting(state) = &self.phase else {
            return false;
        };
        let (options, position, roots) = (state.options, state.position, state.roots);
        if position.is_some_and(|position| self.queue.flushed < position) {
            return false;
        }
        if position.is_none() {
            let geometry = match Geometry::new(
                self.host.blocks().min(format::DISK_BLOCKS_MAX),
                options.root_slots,
                options.segment_blocks,
            ) {
                Ok(geometry) => geometry,
                Err(error) => {
                    self.refuse(Refusal::Geometry(error));
                    return true;
                }
            };
            if !self.space.adopt(geometry) {
                self.refuse(Refusal::Memory);
                return true;
            }
            self.world = options.world;
            (self.twins, self.counts_records) = (true, true);
            // The root first and the headers after it: a format that is cut leaves no header without a root.
            self.root = Root::first(geometry.data_start());
            let root = self.root;
            if let Some(page) = self.buffers.take() {
                self.root_sum = root.write(self.world, &geometry, self.host.bytes_mut(page));
                let [a, b] = geometry.root(root.sequence);
                self.queue.push(a, page, Owner::Shared);
                self.queue.push(b, page, Owner::Buffer);
            }
        } else if !roots {
            let geometry = *self.space.geometry();
            let FormatOptions { formatted_ns, programs, .. } = options;
            let header = Header { version: VERSION, world: self.world, geometry, formatted_ns, programs };
            for at in geometry.headers() {
                if let Some(page) = self.buffers.take() {
                    header.write(at, self.host.bytes_mut(page));
                    self.queue.push(at, page, Owner::Buffer);
                }
            }
        } else {
            self.log = self.root.log;
            self.space.replay_log(self.log.block, self.interval);
            self.phase = Phase::Opened;
            let mut report = OpenReport::default();
            report.meet(Case::NoCheckpoint);
            report.meet(Case::LogEmpty);
            self.events.push(Event::Opened(report));
            return true;
        }
        let end = self.queue.head();
        self.queue.want_flush(end);
        if let Phase::Formatting(state) = &mut self.phase {
            state.roots = state.position.is_some();
            state.position = Some(end);
        }
        true
    }
}
