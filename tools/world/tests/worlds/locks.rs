//! Images in use: by another tool, and by a machine. QEMU locks bytes of the file: 101 while it writes, 201 when nobody
//! else may.

use std::fs::File;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::image::{Image, made, world};

fn lock(file: &File, byte: i64) -> bool {
    let lock = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).is_ok()
}

fn is_locked(file: &File, byte: i64) -> bool {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).expect("asked");
    i32::from(lock.l_type) != libc::F_UNLCK
}

#[test]
fn a_machine_that_writes_keeps_everybody_out() {
    let image = Image::new("machine", 1024);
    let [_, second, _] = made(&image);
    let file = File::options().read(true).write(true).open(&image.0).expect("opened");
    assert!(lock(&file, 101));
    let path = image.path();
    let second = second.to_string();
    for arguments in [vec!["info", &path], vec!["fsck", &path], vec!["rewind", &path, &second]] {
        let outcome = world(&arguments);
        assert!(outcome.status == 1 && outcome.error.contains("in use"), "{arguments:?}: {}", outcome.text());
    }
    drop(file);
    assert_eq!(world(&["info", &path]).status, 0);
}

#[test]
fn a_machine_that_reads_keeps_writers_out() {
    let image = Image::new("reader", 1024);
    let [_, second, _] = made(&image);
    let file = File::open(&image.0).expect("opened");
    assert!(lock(&file, 100));
    assert_eq!(world(&["info", &image.path()]).status, 0);
    let outcome = world(&["rewind", &image.path(), &second.to_string()]);
    assert!(outcome.status == 1 && outcome.error.contains("in use"), "{}", outcome.text());
}

#[test]
fn a_machine_sees_that_the_tool_is_there() {
    let image = Image::new("tool", 1024);
    made(&image);
    let file = File::options().read(true).write(true).open(&image.0).expect("opened");
    let host = world::FileHost::open(&image.0, world::Access::Read, 0).expect("opened");
    assert!(is_locked(&file, 201) && !is_locked(&file, 101), "nobody else is to write");
    drop(host);
    assert!(!is_locked(&file, 201));
    let host = world::FileHost::open(&image.0, world::Access::Write, 0).expect("opened");
    assert!(is_locked(&file, 201) && is_locked(&file, 200) && is_locked(&file, 101));
    drop(host);
}
