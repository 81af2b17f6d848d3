//! Tells the build scripts of programs how a program is linked: they find it in `DEP_LIBOS_LINK_ARGUMENTS`.
//!
//! A program is built for the host's own `x86_64-unknown-linux-gnu` (hardware floating point, any stable toolchain), but
//! without its C library, start files and dynamic loader, at fixed addresses, by our link script.

use std::env;
use std::path::Path;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let script = Path::new(&folder).join("link.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    let arguments = [
        "-nostartfiles".to_owned(),
        "-nostdlib".to_owned(),
        "-static".to_owned(),
        "-no-pie".to_owned(),
        format!("-Wl,-T{}", script.display()),
        "-Wl,--build-id=none".to_owned(),
        "-Wl,-zmax-page-size=4096".to_owned(),
        "-Wl,-znoexecstack".to_owned(),
    ];
    // The separator that cargo itself uses for lists of arguments: no path contains it.
    println!("cargo::metadata=LINK_ARGUMENTS={}", arguments.join("\u{1f}"));
}
