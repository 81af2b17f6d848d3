//! Memory that a device reads and writes by itself. Invariants, beside those of [`crate::window`]:
//!
//! 1. Frame `i` of `frames` is what is mapped at `base + i * FRAME_BYTES`: promised by who makes the window.
//! 2. There are exactly as many frames as the window has pages, and each device address fits 64 bits: checked by
//!    [`DmaWindow::new`].

use crate::window::{RegisterWindow, WindowError};

/// Bytes in a physical frame.
pub const FRAME_BYTES: usize = 4096;

/// Frames above this would overflow a 64-bit device address.
const FRAME_NUMBER_MAX: u64 = u64::MAX / FRAME_BYTES as u64;

/// Memory that driver and device share.
///
/// Offsets are in bytes and aligned to the width of the access; an access outside panics, as for
/// [`Registers`](crate::Registers). What is read may have been changed by the device at any time, so it is
/// untrusted input. Nothing in it survives a restart of the driver.
pub trait DmaMemory {
    /// Size in bytes, a multiple of [`FRAME_BYTES`].
    fn size_bytes(&self) -> usize;

    /// The address under which the device finds byte `offset`. Contiguous within a frame only.
    fn device_address(&self, offset: usize) -> u64;

    /// Reads 32 bits.
    fn read_u32(&self, offset: usize) -> u32;

    /// Writes 32 bits.
    fn write_u32(&self, offset: usize, value: u32);

    /// Reads 64 bits.
    fn read_u64(&self, offset: usize) -> u64;

    /// Writes 64 bits.
    fn write_u64(&self, offset: usize, value: u64);

    /// Zeroes `size_bytes` from `offset`; both multiples of 8.
    fn clear(&self, offset: usize, size_bytes: usize) {
        for at in (offset..offset + size_bytes).step_by(8) {
            self.write_u64(at, 0);
        }
    }
}

impl<D: DmaMemory + ?Sized> DmaMemory for &D {
    fn size_bytes(&self) -> usize {
        (**self).size_bytes()
    }
    fn device_address(&self, offset: usize) -> u64 {
        (**self).device_address(offset)
    }
    fn read_u32(&self, offset: usize) -> u32 {
        (**self).read_u32(offset)
    }
    fn write_u32(&self, offset: usize, value: u32) {
        (**self).write_u32(offset, value);
    }
    fn read_u64(&self, offset: usize) -> u64 {
        (**self).read_u64(offset)
    }
    fn write_u64(&self, offset: usize, value: u64) {
        (**self).write_u64(offset, value);
    }
}

/// Why DMA memory cannot be made of what was given; the caller's fault each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaError {
    /// The virtual range is bad.
    Window(WindowError),
    /// A frame number is too large for a device address.
    BadFrame,
}

/// `FRAMES` physical frames, mapped one after the other.
#[derive(Debug)]
pub struct DmaWindow<const FRAMES: usize> {
    window: RegisterWindow,
    frames: [u64; FRAMES],
}

impl<const FRAMES: usize> DmaWindow<FRAMES> {
    /// Makes DMA memory of the frames `frames` (physical frame numbers), mapped in this order from `base`.
    ///
    /// # Errors
    /// See [`DmaError`].
    ///
    /// # Safety
    /// The caller promises that
    /// 1. `base .. base + FRAMES * FRAME_BYTES` is mapped, readable and writable, until the window is dropped,
    /// 2. holds no Rust object, and
    /// 3. is mapped to exactly these frames, of which nobody else makes use: the device will write to them.
    pub unsafe fn new(base: usize, frames: [u64; FRAMES]) -> Result<Self, DmaError> {
        if frames.iter().any(|frame| *frame > FRAME_NUMBER_MAX) {
            return Err(DmaError::BadFrame);
        }
        let size_bytes = FRAMES.checked_mul(FRAME_BYTES).ok_or(DmaError::Window(WindowError::BadRange))?;
        // SAFETY: the two preconditions of `RegisterWindow::new` are the first two of this function.
        let window = unsafe { RegisterWindow::new(base, size_bytes) }.map_err(DmaError::Window)?;
        Ok(Self { window, frames })
    }
}

impl<const FRAMES: usize> DmaMemory for DmaWindow<FRAMES> {
    fn size_bytes(&self) -> usize {
        self.window.size()
    }
    fn device_address(&self, offset: usize) -> u64 {
        self.frames[offset / FRAME_BYTES] * FRAME_BYTES as u64 + (offset % FRAME_BYTES) as u64
    }
    fn read_u32(&self, offset: usize) -> u32 {
        self.window.read(offset)
    }
    fn write_u32(&self, offset: usize, value: u32) {
        self.window.write(offset, value);
    }
    fn read_u64(&self, offset: usize) -> u64 {
        self.window.read(offset)
    }
    fn write_u64(&self, offset: usize, value: u64) {
        self.window.write(offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(frames: [u64; 2]) -> Result<DmaWindow<2>, DmaError> {
        let words: &'static mut [u64] = vec![0u64; 1024].leak();
        let base = words.as_mut_ptr().expose_provenance();
        // SAFETY: (1) leaked, so it stays; (2) the only reference to it is gone; (3) no device uses the frames here.
        unsafe { DmaWindow::new(base, frames) }
    }

    #[test]
    fn addresses_follow_the_frames() {
        let memory = memory([7, 3]).expect("good frames");
        assert_eq!(memory.size_bytes(), 8192);
        assert_eq!(memory.device_address(0), 7 * 4096);
        assert_eq!(memory.device_address(4095), 7 * 4096 + 4095);
        assert_eq!(memory.device_address(4096), 3 * 4096);
        assert_eq!(memory.device_address(4096 + 64), 3 * 4096 + 64);
    }

    #[test]
    fn accesses_and_clear() {
        let memory = memory([1, 2]).expect("good frames");
        memory.write_u64(4088, u64::MAX);
        memory.write_u64(4096, u64::MAX);
        memory.write_u32(4104, 5);
        assert_eq!(memory.read_u32(4092), u32::MAX);
        memory.clear(4088, 8);
        assert_eq!(memory.read_u64(4088), 0);
        assert_eq!(memory.read_u64(4096), u64::MAX);
        assert_eq!(memory.read_u64(4104), 5);
    }

    #[test]
    #[should_panic(expected = "outside its window")]
    fn an_access_past_the_end_stops() {
        memory([1, 2]).expect("good frames").read_u64(8192);
    }

    #[test]
    fn a_frame_that_no_address_reaches_is_refused() {
        assert_eq!(memory([1, FRAME_NUMBER_MAX + 1]).err(), Some(DmaError::BadFrame));
        assert!(memory([1, FRAME_NUMBER_MAX]).is_ok());
    }
}
