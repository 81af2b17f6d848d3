//! The tool over images in files: what each command prints, and that no image gets the better of it.

mod commands;
mod exported;
mod golden;
mod hostile;
mod image;
mod images;
mod inhabited;
mod locks;
mod mutated;
mod thorough;
