//! `podnet-lab demo`: three nodes, a pod on each, and every path between them.

mod paths;
mod stage;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::cluster::{Invitation, POD_CIDR};
use crate::error::LabError;
use crate::interrupt;
use crate::lab::{Lab, unique_name};
use crate::node::Node;
use crate::parallel::for_each;
use crate::place::{Place, Responder};
use crate::render::Screen;

use paths::{Destination, Measured, Source, expected, verdicts};
use stage::Stage;

/// The pods: one on each node.
const PODS: [&str; 3] = ["red", "green", "blue"];

/// How long one command of the show may take.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// The exit code when a ping or an assertion failed.
const FAILED: u8 = 1;

/// Runs the show. Whatever happens, nothing of it is left.
///
/// # Errors
/// The first step that failed. Pings and assertions that fail are shown, and only make the exit
/// code 1.
pub(crate) fn run(encapsulation: Option<String>, screen: &Screen) -> Result<u8, LabError> {
    let began = Instant::now();
    let stage = Stage::new(screen);
    stage.title("podnet demo: three nodes, a pod on each, and every path between them");
    let lab = Lab::builder()
        .nodes(3)
        .name(unique_name("demo"))
        .encapsulation(encapsulation)
        .up()?;
    stage.done(
        "three nodes are up, each with its own podnetd",
        began.elapsed(),
    );

    let outcome = show(&lab, &stage);
    let down = Instant::now();
    let removed = lab.down();
    let passed = outcome?;
    removed?;
    stage.done("everything is removed again", down.elapsed());
    stage.total(passed, began.elapsed());
    Ok(if passed { 0 } else { FAILED })
}

fn show(lab: &Lab, stage: &Stage<'_>) -> Result<bool, LabError> {
    cluster(lab, stage)?;
    let nodes = lab.nodes();
    for (node, pod) in nodes.iter().zip(PODS) {
        step(stage, *node, &["pod", "add", pod], &[])?;
    }
    step(stage, nodes[0], &["nodes"], &[])?;
    step(
        stage,
        nodes[0],
        &["pod", "exec", PODS[0], "--", "ip", "route"],
        &[],
    )?;

    let sources = sources(&nodes)?;
    let destinations = destinations(lab, &sources);
    let places: Vec<Place<'_>> = sources
        .iter()
        .filter(|source| source.place.pod_name().is_some())
        .map(|source| source.place.clone())
        .chain([lab.internet().place()])
        .collect();
    let _responders: Vec<Responder> = for_each(places.into_iter(), |place| place.respond())?;
    let measured = measure(&sources, &destinations)?;
    stage.matrix(&sources, &destinations, &measured);
    let verdicts = verdicts(&measured);
    stage.verdicts(&verdicts);
    Ok(verdicts.iter().all(|verdict| verdict.failures.is_empty()))
}

fn cluster(lab: &Lab, stage: &Stage<'_>) -> Result<(), LabError> {
    let nodes = lab.nodes();
    let founder = nodes[0];
    let mut words = vec!["init", "--pod-cidr", POD_CIDR];
    if let Some(encapsulation) = &lab.plan().encapsulation {
        words.extend(["--encapsulation", encapsulation]);
    }
    step(stage, founder, &words, &[])?;
    let answer = founder
        .ctl(["-o", "json", "token", "show"])?
        .success("podnetctl token show")?
        .json()?;
    let invitation: Invitation = serde_json::from_value(answer).map_err(|e| LabError::Command {
        what: "podnetctl token show".to_owned(),
        reason: e.to_string(),
    })?;
    let seed = founder.address().to_string();
    let token = [("PODNET_TOKEN", invitation.token.as_str())];
    for node in &nodes[1..] {
        step(stage, *node, &["join", &seed], &token)?;
    }
    Ok(())
}

/// Runs one command of `podnetctl` and shows it.
fn step(
    stage: &Stage<'_>,
    node: Node<'_>,
    words: &[&str],
    environment: &[(&str, &str)],
) -> Result<(), LabError> {
    interrupt::check()?;
    let began = Instant::now();
    stage.command(&node.name(), words);
    let output = node.ctl_with(words, environment, STEP_LIMIT)?;
    stage.output(&output.stdout, began.elapsed());
    output
        .success(&format!("{}# podnetctl {}", node.name(), words.join(" ")))
        .map(drop)
}

/// The pods and the nodes, with the addresses that receivers should see.
fn sources<'lab>(nodes: &[Node<'lab>]) -> Result<Vec<Source<'lab>>, LabError> {
    let mut pods = Vec::new();
    let mut hosts = Vec::new();
    for (node, pod) in nodes.iter().zip(PODS) {
        let status = ask(*node, &["status"])?;
        let gateway = first_address(&status, "gateways", node)?;
        let shown = ask(*node, &["pod", "show", pod])?;
        let address = first_address(&shown, "addresses", node)?;
        pods.push(Source {
            place: node.pod(pod),
            address,
            gateway,
        });
        hosts.push(Source {
            place: node.place(),
            address: node.address(),
            gateway,
        });
    }
    pods.extend(hosts);
    Ok(pods)
}

fn destinations(lab: &Lab, sources: &[Source<'_>]) -> Vec<Destination> {
    sources
        .iter()
        .filter_map(|source| {
            Some(Destination {
                name: source.place.pod_name()?.to_owned(),
                address: source.address,
                node: Some(source.place.node().member()),
            })
        })
        .chain([Destination {
            name: lab.internet().name(),
            address: lab.internet().address(),
            node: None,
        }])
        .collect()
}

fn ask(node: Node<'_>, words: &[&str]) -> Result<serde_json::Value, LabError> {
    let all = ["-o", "json"].iter().chain(words);
    node.ctl(all)?
        .success(&format!("podnetctl {}", words.join(" ")))?
        .json()
}

/// The first of a list of addresses, with or without a prefix length.
fn first_address(
    document: &serde_json::Value,
    key: &str,
    node: &Node<'_>,
) -> Result<Ipv4Addr, LabError> {
    document[key][0]
        .as_str()
        .and_then(|text| text.split('/').next()?.parse().ok())
        .ok_or_else(|| LabError::Command {
            what: format!("reading '{key}' from {}", node.name()),
            reason: format!("no address in {}", document[key]),
        })
}

/// Tries every path, one after the other, so that none disturbs another's round trip.
fn measure(
    sources: &[Source<'_>],
    destinations: &[Destination],
) -> Result<Vec<Measured>, LabError> {
    let mut measured = Vec::new();
    for source in sources {
        for destination in destinations {
            interrupt::check()?;
            let Some(expected) = expected(source, destination) else {
                continue;
            };
            let pong = source.place.ping(destination.address);
            let seen_as = match &pong {
                Ok(_) => source.place.seen_as(destination.address),
                // Where no ping gets through, nothing else is worth its deadline.
                Err(LabError::Interrupted) => return Err(LabError::Interrupted),
                Err(_) => Err(LabError::Command {
                    what: "source address".to_owned(),
                    reason: "not observed".to_owned(),
                }),
            };
            measured.push(Measured {
                source: source.place.to_string(),
                destination: destination.name.clone(),
                expected,
                pong: pong.map_err(|error| error.report().message),
                seen_as: seen_as.map_err(|error| error.report().message),
            });
        }
    }
    Ok(measured)
}
