//! kernel-core
