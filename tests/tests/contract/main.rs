//! What the agent relies on of its data plane: one suite, for the Linux kernel and for the model of
//! it that other tests use. Where the two differ, the model is wrong.
//!
//! The kernel's part needs root, and fails without. Each test has a thread with network and mount
//! namespaces of its own; nothing of the machine's is touched.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod addresses;
mod bridge;
mod firewall;
mod holding;
mod host;
mod kernel_world;
mod model_world;
mod neighbours;
mod node;
mod pods;
mod routes;
mod subject;
mod watch;
mod world;

/// Makes two tests of each scenario: one on the model, one on the kernel.
macro_rules! contract {
    ($($module:ident: $($scenario:ident)*;)*) => {
        mod model {
            $($(#[test] fn $scenario() {
                crate::model_world::run(|world| Box::pin(crate::$module::$scenario(world)));
            })*)*
        }
        mod kernel {
            $($(#[test] fn $scenario() {
                crate::kernel_world::run(|world| Box::pin(crate::$module::$scenario(world)));
            })*)*
        }
    };
}

contract! {
    bridge:
        a_bridge_is_made_as_told
        a_bridge_that_is_there_is_adopted
        a_bridge_gets_back_what_it_lost
        another_mtu_leaves_neighbours_and_addresses
        another_mac_takes_the_neighbours_along
        ports_do_not_change_the_bridge
        a_foreign_bridge_is_left_alone
        a_foreign_link_in_the_bridges_place_is_left_alone
        a_bridge_goes_with_all_that_is_on_it;
    addresses:
        addresses_come_and_go
        addresses_need_their_bridge
        an_older_address_of_the_block_goes_alone
        the_hosts_addresses_are_not_the_bridges;
    neighbours:
        neighbours_come_and_go
        neighbours_need_their_bridge;
    routes:
        routes_are_held_as_told
        a_route_is_replaced
        a_route_that_is_gone_is_put_back_by_a_replacement
        a_foreign_route_is_left_alone
        a_foreign_route_of_another_metric_is_not_in_the_way
        only_the_named_metric_is_removed
        a_route_needs_its_source_address
        a_route_needs_its_device
        a_route_needs_its_gateway_on_the_link
        one_bad_route_hides_no_other
        an_address_takes_its_routes_along
        a_link_that_goes_down_takes_its_routes_along
        the_bridges_own_route_is_not_foreign
        strange_routes_with_our_mark_are_seen_as_ours;
    pods:
        a_pod_in_a_namespace_of_ours_is_whole
        a_pod_in_a_namespace_of_others_is_whole
        attaching_twice_changes_nothing
        many_pods_are_attached_at_once
        a_namespace_that_is_not_there_is_not_found
        a_file_is_no_namespace
        the_hosts_namespace_is_refused
        another_namespace_at_the_path_is_not_found
        a_foreign_namespace_is_not_taken_for_ours
        a_taken_interface_name_is_foreign
        a_taken_host_end_is_foreign
        a_trusted_pod_is_not_held
        a_pod_needs_the_bridge
        what_differs_inside_is_repaired
        what_differs_outside_is_repaired
        what_the_user_adds_stays
        a_deleted_interface_takes_the_host_end_along
        a_deleted_host_end_takes_the_interface_along
        a_removed_namespace_takes_the_pod_along
        a_host_end_that_leads_elsewhere_is_made_anew
        a_repair_needs_the_pod
        detaching_removes_pod_and_namespace
        detaching_leaves_a_namespace_of_others
        detaching_leaves_a_foreign_link;
    firewall:
        rules_are_held_as_told
        rules_are_replaced
        rules_are_removed
        tampered_rules_are_seen_and_set_right
        foreign_rules_survive
        a_second_back_end_lets_packets_pass;
    holding:
        what_is_held_is_held_as_told
        pods_are_held_from_attaching_to_release
        without_a_table_nothing_is_held
        a_tampered_table_is_seen_and_set_right
        pods_that_go_at_once_are_all_let_go_of;
    host:
        devices_are_opened_one_by_one
        the_switch_sets_all_devices
        routes_make_ways
        what_was_not_asked_for_is_not_told
        paths_to_peers_are_told
        the_hosts_routes_are_not_podnets
        paths_are_told_apart
        nothing_is_there_on_a_fresh_host;
    node:
        a_whole_node_converges_in_one_pass
        a_new_agent_adopts_everything
        a_node_that_moves_to_another_block_converges
        a_node_that_leaves_leaves_nothing
        what_others_break_is_repaired;
    watch:
        changes_by_others_are_told
        own_changes_are_not_told;
}
