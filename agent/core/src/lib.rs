//! The decisions of podnet, without side effects
