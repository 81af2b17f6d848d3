//! How large a pager is.

use abi::boot_info::{FrameRange, RANGES_MAX};

/// Faults that may wait at once, at most.
pub const HELD_MAX: usize = 64;

/// Sizes, fixed at start. Those of the world's tables are fixed when the world is made.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The frames it owns.
    pub ranges: [FrameRange; RANGES_MAX],
    /// Memory objects, hidden ancestors of copies included (at most 65,536).
    pub objects_max: u32,
    /// Regions (at most 2^20).
    pub regions_max: u32,
    /// Address spaces (at most 65,536).
    pub spaces_max: u32,
    /// Frames that the kernel's ring of donated frames is kept filled with.
    pub donated_frames: u32,
    /// Frames that only what lets an epoch finish may take: donations, and pages that a device holds.
    pub reserve_frames: u32,
    /// Pages of transient objects, at most: they can never be evicted.
    pub transient_pages_max: u64,
}

/// Why a pager cannot be made so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A capacity is zero or too large.
    Capacity,
    /// A range is beyond 2^32 frames, or two overlap.
    Ranges,
    /// Fewer frames than reserve and donations take, with as many left to work with.
    TooFewFrames,
}

impl Config {
    /// Sensible sizes for these frames.
    pub fn for_frames(ranges: [FrameRange; RANGES_MAX]) -> Self {
        let frames: u64 = ranges.iter().map(|range| range.count).sum();
        Self {
            ranges,
            objects_max: 4096,
            regions_max: 8192,
            spaces_max: 1024,
            donated_frames: (frames / 64).clamp(8, 512) as u32,
            reserve_frames: (frames / 64).clamp(8, 1024) as u32,
            transient_pages_max: frames / 4,
        }
    }

    /// All frames.
    pub fn frames(&self) -> u64 {
        self.ranges.iter().map(|range| range.count).sum()
    }

    /// Frames that the store may be filling at once: the rest is left for what is done with their contents.
    pub(crate) fn loading_max(&self) -> u32 {
        let kept = u64::from(self.donated_frames) + u64::from(self.reserve_frames);
        ((self.frames() - kept) / 4).clamp(1, HELD_MAX as u64) as u32
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let small = |count: u32, max: u32| (1..=max).contains(&count);
        if !small(self.objects_max, 1 << 16) || !small(self.regions_max, 1 << 20) || !small(self.spaces_max, 1 << 16) {
            return Err(ConfigError::Capacity);
        }
        for (at, range) in self.ranges.iter().enumerate() {
            let end = range.first.checked_add(range.count).filter(|&end| end <= u64::from(u32::MAX));
            let end = end.ok_or(ConfigError::Ranges)?;
            let clash = |other: &FrameRange| other.first < end && range.first < other.first + other.count;
            if range.count > 0 && self.ranges[..at].iter().any(|other| other.count > 0 && clash(other)) {
                return Err(ConfigError::Ranges);
            }
        }
        let kept = u64::from(self.donated_frames) + u64::from(self.reserve_frames);
        if self.frames() < 2 * kept || kept == 0 { Err(ConfigError::TooFewFrames) } else { Ok(()) }
    }
}
