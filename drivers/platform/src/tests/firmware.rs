//! Tables, whole and damaged.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{ConfigRegion, PhysicalMemory, TableError, find_config_regions};

const POINTER: u64 = 0xf_5a30;
const XSDT: u64 = 0x7fe_1003;
const RSDT: u64 = 0x7fe_2001;
const MCFG: u64 = 0x7fe_3005;

#[derive(Clone, Default)]
struct Memory(BTreeMap<u64, u8>);

impl Memory {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.0.extend((at..).zip(bytes.iter().copied()));
    }

    fn fix(&mut self, at: u64, count: u64, sum_at: u64) {
        self.put(at + sum_at, &[0]);
        let sum = (at..at + count).fold(0u8, |sum, at| sum.wrapping_add(self.0[&at]));
        self.put(at + sum_at, &[sum.wrapping_neg()]);
    }

    fn table(&mut self, at: u64, signature: &[u8; 4], body: &[u8]) {
        let mut bytes = vec![0; 36];
        bytes[..4].copy_from_slice(signature);
        bytes.extend(body);
        let length = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        self.put(at, &bytes);
        self.fix(at, u64::from(length), 9);
    }
}

impl PhysicalMemory for Memory {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        for (i, byte) in to.iter_mut().enumerate() {
            let Some(held) = address.checked_add(i as u64).and_then(|at| self.0.get(&at)) else {
                return false;
            };
            *byte = *held;
        }
        true
    }
}

fn region(base: u64, first_bus: u8, last_bus: u8) -> ConfigRegion {
    ConfigRegion { base, segment: 0, first_bus, last_bus }
}

fn mcfg(regions: &[ConfigRegion]) -> Vec<u8> {
    let mut body = vec![0; 8];
    for region in regions {
        body.extend(region.base.to_le_bytes());
        body.extend(region.segment.to_le_bytes());
        body.extend([region.first_bus, region.last_bus, 0, 0, 0, 0]);
    }
    body
}

/// Firmware with both root tables; the wanted one comes second.
fn firmware(revision: u8, regions: &[ConfigRegion]) -> Memory {
    let mut memory = Memory::default();
    let mut pointer = [0; 36];
    pointer[..8].copy_from_slice(b"RSD PTR ");
    pointer[15] = revision;
    pointer[16..20].copy_from_slice(&(RSDT as u32).to_le_bytes());
    pointer[20] = 36;
    pointer[24..32].copy_from_slice(&XSDT.to_le_bytes());
    memory.put(POINTER, &pointer);
    memory.fix(POINTER, 20, 8);
    memory.fix(POINTER, 36, 32);
    memory.table(0x7fe_4000, b"APIC", &[0; 8]);
    memory.table(MCFG, b"MCFG", &mcfg(regions));
    memory.table(XSDT, b"XSDT", &[0x7fe_4000u64.to_le_bytes(), MCFG.to_le_bytes()].concat());
    memory.table(RSDT, b"RSDT", &[0x7fe_4000u32.to_le_bytes(), (MCFG as u32).to_le_bytes()].concat());
    memory
}

fn found(memory: &Memory) -> Result<Vec<ConfigRegion>, TableError> {
    find_config_regions(memory, POINTER).map(|regions| regions.iter().copied().collect())
}

const ECAM: u64 = 0xb000_0000;

#[test]
fn both_kinds_of_root_lead_there() {
    for revision in [0, 2] {
        assert_eq!(found(&firmware(revision, &[region(ECAM, 0, 255)])), Ok(vec![region(ECAM, 0, 255)]));
    }
    let mut old_only = firmware(2, &[region(ECAM, 0, 255)]);
    old_only.put(XSDT + 40, &[0xff]);
    assert_eq!(found(&old_only), Ok(vec![region(ECAM, 0, 255)]), "a damaged XSDT leaves the RSDT");
    let mut new_only = firmware(2, &[region(ECAM, 0, 255)]);
    new_only.put(RSDT, b"XXXX");
    assert_eq!(found(&new_only), Ok(vec![region(ECAM, 0, 255)]));
}

#[test]
fn regions_are_checked() {
    let good = region(ECAM, 0, 63);
    let bad = [region(0, 0, 255), region(ECAM + 4096, 0, 255), region(ECAM, 5, 4), region(!0xf_ffff, 0, 255)];
    assert_eq!(found(&firmware(2, &bad)), Err(TableError::NoRegions));
    assert_eq!(found(&firmware(2, &[bad[0], good, bad[2]])), Ok(vec![good]));
    assert_eq!(found(&firmware(2, &[])), Err(TableError::NoRegions));
    assert_eq!(found(&firmware(2, &[good; 9])).map(|regions| regions.len()), Ok(crate::REGIONS_MAX));
}

#[test]
fn damage_is_named() {
    let whole = firmware(2, &[region(ECAM, 0, 255)]);
    let damaged = |at: u64, bytes: &[u8]| {
        let mut memory = whole.clone();
        memory.put(at, bytes);
        found(&memory)
    };
    assert_eq!(damaged(POINTER, b"RSX"), Err(TableError::NoRootPointer));
    assert_eq!(damaged(POINTER + 9, b"??"), Err(TableError::NoRootPointer), "the checksum");
    assert_eq!(damaged(MCFG, b"MCFX"), Err(TableError::NoConfigTable));
    assert_eq!(damaged(MCFG + 44, &[1]), Err(TableError::NoConfigTable), "the checksum");
    let mut memory = whole.clone();
    memory.put(XSDT + 4, &[35, 0, 0, 0]);
    memory.put(RSDT + 4, &[0xff; 4]);
    assert_eq!(found(&memory), Err(TableError::NoRootTable), "lengths");
    assert_eq!(find_config_regions(&whole, POINTER + 1), Err(TableError::NoRootPointer));
    assert_eq!(find_config_regions(&whole, u64::MAX), Err(TableError::NoRootPointer));
}

proptest! {
    /// Any bytes anywhere: the answer is the truth or an error, never a panic or a region that is not there.
    #[test]
    fn flipped_bytes_never_lead_elsewhere(which in any::<prop::sample::Index>(), value: u8) {
        let mut memory = firmware(2, &[region(ECAM, 0, 255)]);
        let at = *memory.0.keys().nth(which.index(memory.0.len())).expect("an index of it");
        memory.0.insert(at, value);
        if let Ok(regions) = found(&memory) {
            prop_assert_eq!(regions, vec![region(ECAM, 0, 255)]);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut memory = firmware(2, &[region(ECAM, 0, 255)]);
        memory.put(MCFG + 4, &bytes);
        memory.put(XSDT + 4, &bytes);
        let _ = found(&memory);
        let mut alone = Memory::default();
        alone.put(POINTER, &bytes);
        prop_assert!(found(&alone).is_err());
    }
}
