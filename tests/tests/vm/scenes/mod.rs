//! What happens to the machines. A scene is a function.

mod agent;
mod containers;
mod hosts;
mod install;
mod kernel;
mod network;
mod power;
mod state;
mod topology;
mod unit;

use crate::cluster::{Cluster, Stage};
use crate::world::Group;

/// A test: where it begins, and what it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    /// Its name.
    pub(crate) name: &'static str,
    /// The machines.
    pub(crate) group: Group,
    /// How far they have come.
    pub(crate) stage: Stage,
    /// What happens.
    pub(crate) play: fn(&mut Cluster),
}

/// The scene of a function, under the function's own name.
macro_rules! scene {
    ($group:ident, $stage:ident, $module:ident :: $function:ident) => {
        Scene {
            name: concat!(stringify!($module), "::", stringify!($function)),
            group: Group::$group,
            stage: Stage::$stage,
            play: $module::$function,
        }
    };
}

/// All scenes, in an order in which each stage is reached once.
pub(crate) fn all() -> Vec<Scene> {
    vec![
        scene!(Plain, Fresh, install::the_package_starts_an_idle_agent),
        scene!(
            Plain,
            Fresh,
            install::remove_leaves_the_data_path_and_purge_leaves_nothing
        ),
        scene!(
            Plain,
            Fresh,
            install::what_is_built_is_installed_and_uninstalled
        ),
        scene!(Plain, Idle, topology::a_second_card_has_the_default_route),
        scene!(
            Plain,
            Idle,
            topology::a_node_behind_a_router_is_shown_with_the_reason
        ),
        scene!(Plain, Joined, network::every_pod_reaches_every_pod),
        scene!(
            Plain,
            Joined,
            install::an_upgrade_node_by_node_loses_nothing
        ),
        scene!(Plain, Joined, agent::stop_start_and_restart_lose_nothing),
        scene!(Plain, Joined, agent::kills_lose_nothing),
        scene!(
            Plain,
            Joined,
            unit::the_status_text_says_where_the_node_stands
        ),
        scene!(Plain, Joined, unit::the_journal_knows_priorities),
        scene!(
            Plain,
            Joined,
            unit::a_start_that_cannot_succeed_is_not_repeated
        ),
        scene!(
            Plain,
            Joined,
            unit::a_start_that_fails_again_and_again_is_given_up
        ),
        scene!(Plain, Joined, network::a_restart_of_networkd_loses_nothing),
        scene!(Plain, Joined, network::a_link_flaps),
        scene!(
            Plain,
            Joined,
            network::flushed_rules_are_back_within_a_second
        ),
        scene!(Plain, Joined, network::an_address_changes),
        scene!(Plain, Joined, state::a_node_is_taken_out),
        scene!(
            Plain,
            Joined,
            state::a_node_that_lost_its_disk_joins_under_another_name
        ),
        scene!(
            Plain,
            Joined,
            state::a_state_that_is_restored_unchanged_is_as_before
        ),
        scene!(
            Plain,
            Joined,
            state::a_copied_state_is_refused_until_it_is_reset
        ),
        scene!(Plain, Joined, hosts::a_host_without_iptables),
        scene!(Plain, Joined, hosts::forward_drops_in_either_iptables),
        scene!(Plain, Joined, hosts::rp_filter_is_strict),
        scene!(Plain, Joined, hosts::clocks_are_years_off),
        scene!(Plain, Joined, hosts::a_full_disk),
        scene!(Plain, Joined, hosts::a_host_without_ipv6),
        scene!(Plain, Joined, power::a_node_reboots),
        scene!(Plain, Joined, power::one_node_loses_power),
        scene!(Plain, Joined, power::all_nodes_lose_power),
        scene!(NextKernel, Joined, kernel::the_main_job_on_the_next_kernel),
        scene!(Containers, Idle, containers::docker_starts_before_podnet),
        scene!(Containers, Joined, containers::docker_starts_after_podnet),
        scene!(
            Containers,
            Joined,
            containers::a_container_that_restarts_keeps_its_address
        ),
        scene!(Containers, Joined, containers::firewalld_reloads),
    ]
}
