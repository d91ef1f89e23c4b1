//! The podnet agent
