//! What is read, what is refused, and what the example says.

use std::time::Duration;

use super::*;

fn parsed(text: &str) -> Result<Options, ConfigError> {
    file::parse(Path::new("podnetd.toml"), text)
}

fn given(arguments: &[&str]) -> Options {
    Cli::try_parse_from([&["podnetd"], arguments].concat())
        .unwrap()
        .options
}

#[test]
fn a_flag_beats_the_file_which_beats_the_default() {
    let file = parsed(
        "advertise = \"192.0.2.0/24\"\ngossip_port = 1000\nstate-dir = \"/a\"\n\
         [timing]\nresync = \"1h\"",
    );
    let config = Config::merge(given(&["run", "--gossip-port", "2000"]), file.unwrap()).unwrap();
    assert_eq!(config.advertise, "192.0.2.0/24".parse().unwrap());
    assert_eq!(config.gossip_port, 2000);
    assert_eq!(config.state_dir, Path::new("/a"));
    assert_eq!(config.socket, Path::new("/run/podnet/podnet.sock"));
    assert_eq!(config.timing.resync, Duration::from_secs(3600));
    assert_eq!(config.timing.gossip_interval, Duration::from_secs(1));
}

#[test]
fn the_socket_follows_the_run_directory() {
    let config = Config::merge(given(&["--run-dir", "/x"]), Options::default()).unwrap();
    assert_eq!(config.socket, Path::new("/x/podnet.sock"));
}

#[test]
fn paths_are_absolute_and_not_empty() {
    let config = Config::merge(given(&["--run-dir", "x"]), Options::default()).unwrap();
    assert!(config.run_dir.is_absolute() && config.run_dir.ends_with("x"));
    for key in ["state_dir", "run_dir", "socket", "netns_dir"] {
        let file = parsed(&format!("{key} = ''")).unwrap();
        let error = Config::merge(Options::default(), file).unwrap_err();
        assert_eq!(error.to_string(), format!("{key}: a value is required"));
    }
}

#[test]
fn wrong_files_are_named() {
    for bad in [
        "gossip_port = 0",
        "gossip_port = 70000",
        "no_such_key = 1",
        "firewall = \"pf\"",
        "metrics_address = \"here\"",
        "advertise = \"eth1\"",
        "advertise = \"192.0.2.1/24\"",
        "[timing]\nresync = \"0s\"",
        "[timing]\nresync = 5",
        "[",
    ] {
        let error = parsed(bad).unwrap_err().to_string();
        assert!(
            error.starts_with("configuration file podnetd.toml: "),
            "{bad}: {error}"
        );
    }
}

#[test]
fn what_is_not_built_yet_is_unsupported() {
    let error = Config::merge(given(&["--firewall", "nftables"]), Options::default());
    assert!(matches!(error, Err(ConfigError::Unsupported { .. })));
}

/// The example of the package: all keys, commented out.
const EXAMPLE: &str = include_str!("../../../dist/podnetd.toml");

/// Its keys, each with its line, as they are once the comment is gone.
fn example_lines() -> Vec<(String, String)> {
    let mut section = "";
    let mut lines = Vec::new();
    for line in EXAMPLE.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let Some(line) = line.strip_prefix('#')
            && let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            lines.push((key.to_owned(), format!("{section}\n{line}")));
        }
    }
    lines
}

/// The names of the fields that serde reads into `T`: it lists them when it meets another one.
fn keys<T: serde::de::DeserializeOwned>() -> Vec<String> {
    let error = toml::from_str::<toml::Table>("no_such_key = 1").unwrap();
    let error = error.try_into::<T>().err().unwrap().to_string();
    let (_, expected) = error.split_once("expected one of ").unwrap();
    let names = expected.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[test]
fn the_example_changes_nothing_as_it_is() {
    let config = Config::merge(Options::default(), parsed(EXAMPLE).unwrap()).unwrap();
    let default = Config::merge(Options::default(), Options::default()).unwrap();
    assert_eq!(config, default);
}

#[test]
fn each_line_of_the_example_shows_a_default() {
    let default = Config::merge(Options::default(), Options::default()).unwrap();
    let mut shown = Vec::new();
    for (key, line) in example_lines() {
        let config = Config::merge(Options::default(), parsed(&line).unwrap()).unwrap();
        assert_eq!(config, default, "{line}");
        // A line that no setting reads is an error of the parser; this is one that is not read.
        assert!(!shown.contains(&key), "{key} stands there twice");
        shown.push(key);
    }
    for key in keys::<Options>().into_iter().chain(keys::<Timing>()) {
        // Aliases, and the section of the timing keys.
        if !key.contains('-') && key != "timing" {
            assert!(shown.contains(&key), "{key} is missing in the example");
        }
    }
}
