//! Answers as text for people. Pure: text in, text out; `output` prints it.

mod cluster;
mod pods;
mod table;
mod text;

pub(crate) use cluster::{init, join, nodes, routes, status, versions};
pub(crate) use pods::{pod, pods};
pub(crate) use text::{joined, printable};
