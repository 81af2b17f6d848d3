//! The port's server among programs, cuts, commits and deaths that are made up here.

mod programs;
mod simulation;
mod steps;
