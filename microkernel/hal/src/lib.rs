//! kernel-hal
