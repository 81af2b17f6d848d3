//! Tells the linker where the kernel of `examples/provoke.rs` lies: where the real one does.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-examples=-T{folder}/../link.ld");
    for option in ["--no-pie", "-zmax-page-size=4096", "--build-id=none"] {
        println!("cargo:rustc-link-arg-examples={option}");
    }
    println!("cargo:rerun-if-changed=../link.ld");
    println!("cargo:rerun-if-changed=build.rs");
}
