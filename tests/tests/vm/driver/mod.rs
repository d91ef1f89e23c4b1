//! Virtual machines that a suite drives from outside: images, networks, and what runs on them.
//!
//! The machines run under QEMU, with hardware acceleration if the host has it. Commands reach a
//! machine through the QEMU guest agent, over a serial port: a test may cut any network.

mod guest;
mod image;
mod machine;
mod monitor;
mod network;
mod payload;

pub(crate) use image::{Image, Kernel, Recipe};
pub(crate) use machine::{Machine, Spec};
pub(crate) use network::{INTERNET, Network, Segment};
pub(crate) use payload::{FOLDER, Payload};
