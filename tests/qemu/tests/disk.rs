//! The disk that loses power, below the machine's own NVMe controller, before any of our programs touches it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crash_disk::{Command, PowerCutDisk, SECTOR_BYTES};
use qemu_machine::{Disk, Guest, Machine};

/// How long a machine may take for anything here.
const LIMIT: Duration = Duration::from_secs(120);
/// The firmware boots from no disk that is smaller than a cylinder.
const DISK_BYTES: usize = 16 << 20;
/// Sectors that the boot sector writes: 1 to 8.
const WRITES: u64 = 8;

/// Bytes of the boot sector that are code.
const CODE_BYTES: usize = 24;
/// A boot sector that copies itself to sectors 1 to 8, one firmware call each, and then sleeps.
const BOOT_SECTOR: [u8; 40] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xbe, 0x18, 0x7c, // mov si, packet
    0xb8, 0x00, 0x43, // again: mov ax, 0x4300 (extended write)
    0xcd, 0x13, // int 0x13
    0xff, 0x44, 0x08, // inc word [si + 8]
    0x83, 0x7c, 0x08, 0x09, // cmp word [si + 8], 9
    0x72, 0xf2, // jb again
    0xf4, // stop: hlt
    0xeb, 0xfd, // jmp stop
    // packet: its length, one sector, from 0x7c00, to sector 1
    0x10, 0x00, 0x01, 0x00, 0x00, 0x7c, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
];

fn bootable() -> Vec<u8> {
    let mut image = vec![0; DISK_BYTES];
    image[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("perennial-disk-{name}-{}", std::process::id()))
}

fn start(socket: &Path) -> Guest {
    let mut machine = Machine::new(Path::new(""), None);
    machine.kernel = None;
    machine.disk = Disk::Socket(socket.to_owned());
    Guest::start(&machine).expect("QEMU starts")
}

fn survivors(image: &[u8]) -> Vec<bool> {
    // The copies differ in the number that the code counts up in its packet.
    let written = |sector: &[u8]| sector[..CODE_BYTES] == BOOT_SECTOR[..CODE_BYTES];
    image.chunks(SECTOR_BYTES).skip(1).take(WRITES as usize).map(written).collect()
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn the_machine_writes_through_its_controller_to_our_disk() {
    let path = socket("through");
    let mut disk = PowerCutDisk::new(bootable(), 1);
    disk.serve(&path).expect("served");
    // Beyond the last: the power stays on until that many commands, which never come.
    let mut guest = start(&path);
    let deadline = std::time::Instant::now() + LIMIT;
    while disk.commands() < WRITES && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    guest.kill();
    let writes: Vec<_> = disk.log().into_iter().filter(|command| matches!(command, Command::Write { .. })).collect();
    let expected = |sector: u64| Command::Write { offset: sector * 512, bytes: 512 };
    assert_eq!(writes, (1..=WRITES).map(expected).collect::<Vec<_>>());
    assert_eq!(survivors(&disk.contents()), [true; WRITES as usize]);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_cut_below_a_running_machine_loses_what_was_not_flushed() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..4 {
        let path = socket(&format!("cut-{seed}"));
        let mut disk = PowerCutDisk::new(bootable(), seed);
        disk.cut_at(5);
        disk.serve(&path).expect("served");
        let mut guest = start(&path);
        let cut = disk.wait_cut(LIMIT).unwrap_or_else(|error| panic!("no cut: {error}"));
        guest.kill();
        assert_eq!(cut.command, 5);
        let image = disk.survive().contents();
        assert_eq!(image[..SECTOR_BYTES], bootable()[..SECTOR_BYTES], "{cut}: an old sector changed");
        let found = survivors(&image);
        assert!(found[5..].iter().all(|written| !written), "{cut}: sectors beyond the cut were written: {found:?}");
        lost += found[..5].iter().filter(|written| !**written).count();
        kept += found[..5].iter().filter(|written| **written).count();
    }
    assert!(lost > 0 && kept > 0, "{lost} writes lost, {kept} kept: the seeds show no mixture");
}
