//! A node: what users ask of it, and what it asks of the world.

mod request;

pub use request::{Answer, Request, Response, Ticket};
