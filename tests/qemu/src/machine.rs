//! The machine as a description, and the one place that turns it into QEMU's options.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names another QEMU than the one in the search path.
pub const QEMU_VARIABLE: &str = "QEMU";

/// The QEMU to run.
#[must_use]
pub fn qemu_program() -> PathBuf {
    std::env::var_os(QEMU_VARIABLE).map_or_else(|| "qemu-system-x86_64".into(), PathBuf::from)
}

/// What is plugged into the machine's NVMe slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Nothing.
    None,
    /// A raw image file; writes stay.
    Image(PathBuf),
    /// A raw image file; writes are forgotten at the end.
    Scratch(PathBuf),
    /// A network block device on this Unix socket: a disk that loses power (crate `crash-disk`).
    Socket(PathBuf),
}

/// Where the machine's serial port goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// The terminal, with QEMU's switch sequences: Ctrl-A X ends, Ctrl-A H helps.
    Terminal,
    /// Plain standard input and output, for programs.
    Pipes,
}

/// A machine that can be started.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel, an ELF file with a PVH entry; without one the firmware boots from the disk.
    pub kernel: Option<PathBuf>,
    /// The boot bundle; without one the kernel finds no module.
    pub bundle: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
    /// Number of CPUs, at least 1.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The NVMe disk.
    pub disk: Disk,
    /// Where the console goes.
    pub console: Console,
    /// Count instructions instead of time: one tick of the time-stamp counter is one instruction, runs repeat.
    pub count_instructions: bool,
    /// Stop before the first instruction and wait for gdb on TCP port 1234.
    pub wait_for_gdb: bool,
    /// A Unix socket for the monitor protocol.
    pub monitor: Option<PathBuf>,
    /// Further options, as they are.
    pub extra: Vec<OsString>,
}

impl Machine {
    /// One CPU, 256 MiB, no disk, console on pipes.
    #[must_use]
    pub fn new(kernel: &Path, bundle: Option<&Path>) -> Self {
        Self {
            kernel: Some(kernel.to_owned()),
            bundle: bundle.map(Path::to_owned),
            command_line: String::new(),
            cpus: 1,
            memory_mib: 256,
            disk: Disk::None,
            console: Console::Pipes,
            count_instructions: false,
            wait_for_gdb: false,
            monitor: None,
            extra: Vec::new(),
        }
    }

    /// The command that starts it. Nothing has been checked: QEMU will complain.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(qemu_program());
        command.args(["-M", "q35", "-cpu", "max", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        command.args(["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory_mib)]);
        // Instructions are only counted in order when one host thread runs all CPUs.
        if self.count_instructions {
            command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]);
        } else {
            command.args(["-accel", "tcg"]);
        }
        if let Some(kernel) = &self.kernel {
            command.arg("-kernel").arg(kernel);
        }
        if let Some(bundle) = &self.bundle {
            command.arg("-initrd").arg(bundle);
        }
        if !self.command_line.is_empty() {
            command.args(["-append", &self.command_line]);
        }
        self.disk_options(&mut command);
        match self.console {
            Console::Terminal => command.args(["-serial", "mon:stdio"]),
            Console::Pipes => command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]),
        };
        if self.console == Console::Pipes {
            command.args(["-monitor", "none"]);
        }
        if self.wait_for_gdb {
            command.args(["-s", "-S"]);
        }
        if let Some(socket) = &self.monitor {
            command.arg("-qmp").arg(joined("unix:", socket, ",server=on,wait=off"));
        }
        command.args(&self.extra);
        command
    }

    fn disk_options(&self, command: &mut Command) {
        // Threads instead of io_uring or native AIO: those are not there in every container.
        let image = |path: &Path, snapshot: &str| {
            let options = format!(",format=raw,if=none,id=disk,cache=writeback,aio=threads,snapshot={snapshot}");
            joined("file=", path, &options)
        };
        match &self.disk {
            Disk::None => return,
            Disk::Image(path) => command.arg("-drive").arg(image(path, "off")),
            Disk::Scratch(path) => command.arg("-drive").arg(image(path, "on")),
            Disk::Socket(path) => command.arg("-blockdev").arg(joined(
                "driver=nbd,node-name=disk,server.type=unix,server.path=",
                path,
                "",
            )),
        };
        command.args(["-device", "nvme,drive=disk,serial=perennial0"]);
    }
}

/// A QEMU option with a path in it. QEMU splits at commas; a doubled one stands for itself.
fn joined(before: &str, path: &Path, after: &str) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = before.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.extend(std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    }
    bytes.extend_from_slice(after.as_bytes());
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(machine: &Machine) -> String {
        let command = machine.command();
        command.get_args().map(|option| option.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commas_in_paths_survive() {
        let mut machine = Machine::new(Path::new("k"), None);
        machine.disk = Disk::Image("a,b.img".into());
        assert!(options(&machine).contains("file=a,,b.img,format=raw"), "{}", options(&machine));
    }

    #[test]
    fn counting_needs_one_thread() {
        let mut machine = Machine::new(Path::new("k"), Some(Path::new("b")));
        machine.count_instructions = true;
        machine.cpus = 2;
        let options = options(&machine);
        assert!(options.contains("tcg,thread=single -icount shift=0,sleep=off"), "{options}");
        assert!(options.contains("-initrd b"), "{options}");
    }
}
