//! A testbed for podnet on one host
