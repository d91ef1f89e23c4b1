//! The podnet command line
