//! The library against firmware tables and a bus that are not there.

mod bus;
mod fake;
mod firmware;
mod power;
