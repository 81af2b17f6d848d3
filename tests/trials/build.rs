//! Links the program as `libos` says; a library for the host needs nothing.

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_LIBOS_LINK_ARGUMENTS");
    if let Ok(arguments) = std::env::var("DEP_LIBOS_LINK_ARGUMENTS") {
        for argument in arguments.split('\u{1f}') {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
