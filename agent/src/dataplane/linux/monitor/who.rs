//! Who changed something, as far as the kernel reports it.

use std::fs;

/// The owner of a netlink port. The kernel itself has port 0. By convention a process's first socket
/// has the number of the process (netlink(7)), whose name can be looked up as long as it lives.
pub(super) fn owner(port: u32) -> Option<String> {
    if port == 0 {
        return None;
    }
    let name = fs::read_to_string(format!("/proc/{port}/comm"));
    Some(match name {
        Ok(name) => named(name.trim_end(), port),
        Err(_) => format!("netlink port {port}"),
    })
}

/// A process of this name and number.
pub(super) fn named(name: &str, pid: u32) -> String {
    format!("{name}[{pid}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_has_a_name() {
        let own = std::process::id();
        let name = owner(own).unwrap();
        assert!(name.ends_with(&format!("[{own}]")), "{name}");
        assert_eq!(owner(0), None);
        // Beyond the largest number of a process.
        assert_eq!(owner(4_294_963_200).unwrap(), "netlink port 4294963200");
    }
}
