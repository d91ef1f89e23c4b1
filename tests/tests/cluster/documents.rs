//! The documents that scripts read: on the control socket, and by `podnetctl -o json`.

mod forms;

use podnet_lab::prelude::*;
use serde_json::{Value, json};

use self::forms::{ERROR, INIT, JOIN, NODES, POD, PODS, PROBLEM, ROUTES, STATUS, TOKEN, VERSION};
use crate::schema::{Form, mismatches};

#[track_caller]
fn assert_form(form: &Form, document: &Value, what: &str) {
    let mismatches = mismatches(form, document, what);
    assert!(mismatches.is_empty(), "{mismatches:#?}\nin {document:#}");
}

/// What two looks at the same thing may differ in.
fn without_time(mut document: Value) -> Value {
    match &mut document {
        Value::Object(object) => {
            for key in [
                "last_seen_seconds",
                "last_at",
                "last_duration_seconds",
                "passes",
            ] {
                object.remove(key);
            }
            object
                .values_mut()
                .for_each(|value| *value = without_time(value.take()));
        }
        Value::Array(list) => list
            .iter_mut()
            .for_each(|value| *value = without_time(value.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    document
}

/// What `podnetctl` prints, as it stands.
fn document(node: Node<'_>, words: &[&str]) -> Value {
    node.ask(words)
}

#[test]
fn documents_have_the_keys_that_scripts_know_on_the_socket_as_on_the_command_line() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    assert_form(&STATUS, &document(node1, &["status"]), "idle status");
    assert_form(&VERSION, &document(node1, &["version"]), "version");
    let founded = document(node1, &["init", "--pod-cidr", "10.244.0.0/16"]);
    assert_form(&INIT, &founded, "init");
    let token = founded["token"].as_str().unwrap();
    for node in [node2, node3] {
        let joined = node.ctl_json(&["join", "192.168.56.11"], token).unwrap();
        assert_form(&JOIN, &joined.json().unwrap(), "join");
    }
    node1.add_pod("red");
    let blue = document(node1, &["pod", "add", "blue"]);
    assert_form(&POD, &blue, "pod add");
    node1.ready(2);

    for (words, path, form) in [
        (&["status"][..], "/v1/status", &STATUS),
        (&["nodes"], "/v1/nodes", &NODES),
        (&["routes"], "/v1/routes", &ROUTES),
        (&["pod", "list"], "/v1/pods", &PODS),
        (&["pod", "show", "red"], "/v1/pods/red", &POD),
        (&["token", "show"], "/v1/token", &TOKEN),
    ] {
        let document = document(node1, words);
        assert_form(form, &document, path);
        let response = node1.http("GET", path, "");
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert_eq!(response.content_type, "application/json", "{path}");
        assert_eq!(
            without_time(response.body),
            without_time(document),
            "{path}"
        );
    }
    assert_eq!(node1.token().token, token);
    let command = format!("podnetctl join 192.168.56.11 --token {token}");
    assert_eq!(founded["join_command"], command.as_str());
}

#[test]
fn by_the_socket_alone_a_node_joins_has_pods_and_leaves() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let founded = node1.http("POST", "/v1/init", r#"{"pod_cidrs":["10.244.0.0/16"]}"#);
    assert_eq!(founded.status, 200, "{founded:?}");
    assert_form(&INIT, &founded.body, "init");
    let join = json!({"addresses": ["192.168.56.11"], "token": founded.body["token"]});
    let joined = node2.http("POST", "/v1/join", &join.to_string());
    assert_eq!(joined.status, 202, "{joined:?}");
    assert_form(&STATUS, &joined.body, "join");
    node2.ready(1);

    let added = node2.http("POST", "/v1/pods", r#"{"name":"blue"}"#);
    assert_eq!(added.status, 200, "{added:?}");
    assert_form(&POD, &added.body, "pod");
    assert_eq!(node2.http("DELETE", "/v1/pods/blue", "").status, 204);
    assert_eq!(node2.http("GET", "/v1/pods", "").body, json!([]));

    let left = node2.http("POST", "/v1/leave", "{}");
    assert_eq!(left.status, 202, "{left:?}");
    assert_form(&STATUS, &left.body, "leave");
    node2.status_where("idle", |status| status.phase == Phase::Idle);
}

#[test]
fn documents_tell_what_is() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    node2.ready(1);
    node1.ready(1);
    let status = document(node1, &["status"]);
    assert_eq!(status["api"], 1);
    assert_eq!(status["node"]["name"], "node1");
    assert_eq!(status["node"]["addresses"], json!(["192.168.56.11:7846"]));
    assert_eq!(status["cluster"]["pod_cidrs"], json!(["10.244.0.0/16"]));
    assert_eq!(status["cluster"]["block_prefixes"], json!([24]));
    assert_eq!(status["cluster"]["encapsulation"], "direct");
    assert_eq!(status["cluster"]["nodes"], 2);
    assert_eq!(status["cluster"]["live_nodes"], 2);
    assert_eq!(status["blocks"], json!(["10.244.0.0/24"]));
    assert_eq!(status["gateways"], json!(["10.244.0.1"]));
    assert_eq!(status["mtu"], 1500);
    assert_eq!(
        status["quorum"],
        json!({"voters": 1, "reachable": 1, "ok": true})
    );
    assert_eq!(status["problems"], json!([]));

    let all = document(node1, &["nodes"]);
    let names = all.as_array().unwrap().iter().map(|node| &node["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["node1", "node2"]);
    assert_eq!(
        (&all[0]["self"], &all[0]["path"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(
        (&all[1]["self"], &all[1]["path"]),
        (&json!(false), &json!("ok"))
    );
    assert_eq!(all[1]["encapsulation"], "direct");
    assert_eq!(all[1]["blocks"], json!(["10.244.1.0/24"]));
    assert_eq!(all[1]["id"], json!(node2.status().node.id));
    assert_eq!(
        without_time(status["peers"].clone()),
        without_time(json!([all[1]]))
    );

    assert_eq!(
        document(node1, &["routes"]),
        json!([
            {"destination": "10.244.0.0/16", "via": null, "device": null, "node": null,
             "protocol": 112, "state": "unreachable"},
            {"destination": "10.244.1.0/24", "via": "192.168.56.12", "device": "eth0",
             "node": "node2", "protocol": 112, "state": "ok"},
        ])
    );
}

#[test]
fn errors_have_one_form_on_the_command_line_and_one_on_the_socket() {
    let lab = Cluster::of(1);
    let [node] = nodes(&lab);
    node.add_pod("red");
    for (words, code) in [
        (&["pod", "show", "blue"][..], ErrorCode::NotFound),
        (&["pod", "rm", "red", "blue"], ErrorCode::NotFound),
        (&["pod", "add", "Red"], ErrorCode::BadName),
        (
            &["pod", "add", "red", "--netns", "/run/netns/other"],
            ErrorCode::Exists,
        ),
        (&["status", "--no-such-flag"], ErrorCode::Usage),
        (&["no-such-command"], ErrorCode::Usage),
        (
            &["--socket", "/run/podnet/other.sock", "status"],
            ErrorCode::AgentUnreachable,
        ),
    ] {
        refused(node, words, code);
        let output = node.ctl_json(words, "").unwrap();
        assert_form(&ERROR, &output.json().unwrap(), &words.join(" "));
    }
    assert_eq!(node.pods().len(), 1, "rm removed nothing");

    for (method, path, body, status, code) in [
        ("GET", "/v1/pods/blue", "", 404, "not_found"),
        ("DELETE", "/v1/pods/blue", "", 404, "not_found"),
        ("GET", "/v1/pods/Blue", "", 400, "bad_name"),
        ("GET", "/v1/nothing", "", 404, "not_found"),
        ("POST", "/v1/pods", "banana", 400, "usage"),
        ("POST", "/v1/pods", r#"{"name":"Red"}"#, 400, "bad_name"),
        (
            "POST",
            "/v1/pods",
            r#"{"name":"red","pid":1,"netns":"/x"}"#,
            400,
            "usage",
        ),
        (
            "POST",
            "/v1/init",
            r#"{"pod_cidrs":["10.99.0.0/16"]}"#,
            409,
            "already_member",
        ),
        (
            "POST",
            "/v1/join",
            r#"{"addresses":["192.0.2.1"],"token":"x"}"#,
            400,
            "bad_token",
        ),
        ("POST", "/v1/leave", "{}", 409, "exists"),
    ] {
        let response = node.http(method, path, body);
        let what = format!("{method} {path} {body}");
        assert_eq!(response.status, status, "{what}: {response:?}");
        assert_eq!(response.content_type, "application/problem+json", "{what}");
        assert_form(&PROBLEM, &response.body, &what);
        assert_eq!(response.body["code"], code, "{what}");
        assert_eq!(response.body["status"], status, "{what}");
    }
    // Nothing was done by any of them.
    let gone = node.http("DELETE", "/v1/pods/red", "");
    assert_eq!((gone.status, gone.body), (204, Value::Null));
}
