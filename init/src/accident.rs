//! Accidents on order: `kill=nvme@2000,console@3500` on the kernel's command line has init kill these servers so many
//! milliseconds after the boot, as if they had died by themselves. For tests of restarts.

use crate::list::List;

/// Accidents, at most.
pub const ACCIDENTS_MAX: usize = 16;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accident<'a> {
    /// Who dies.
    pub service: &'a str,
    /// When, in ns after the boot.
    pub at_ns: u64,
}

/// The list cannot be understood; whoever started the machine is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAccident;

/// All accidents in the value of the option.
pub fn accidents(option: &str) -> Result<List<Accident<'_>, ACCIDENTS_MAX>, BadAccident> {
    let mut list = List::new();
    for word in option.split(',').filter(|word| !word.is_empty()) {
        let (service, ms) = word.split_once('@').ok_or(BadAccident)?;
        let ms: u64 = ms.parse().map_err(|_| BadAccident)?;
        let at_ns = ms.checked_mul(1_000_000).ok_or(BadAccident)?;
        list.push(Accident { service, at_ns }).map_err(|_| BadAccident)?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accidents_are_read() {
        let list = accidents("nvme@2000,console@35").expect("good");
        assert_eq!(list.get(0), Some(Accident { service: "nvme", at_ns: 2_000_000_000 }));
        assert_eq!(list.get(1), Some(Accident { service: "console", at_ns: 35_000_000 }));
        assert!(accidents("").expect("good").is_empty());
        for bad in ["nvme", "nvme@", "nvme@x", "a@99999999999999999999"] {
            assert_eq!(accidents(bad).err(), Some(BadAccident), "{bad}");
        }
    }
}
