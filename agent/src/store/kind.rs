//! The kinds of state files.

/// What a state file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The node's key.
    Identity,
    /// How often gossip was started.
    Epoch,
    /// What the claim protocol must keep.
    Ledger,
    /// The membership.
    Cluster,
    /// What the members last said of themselves.
    Peers,
    /// The number of this boot.
    Boot,
    /// A pod.
    Pod,
    /// The addresses that pods gave back.
    Freed,
    /// The values of kernel parameters before podnet changed them.
    Sysctls,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Identity,
        Self::Epoch,
        Self::Ledger,
        Self::Cluster,
        Self::Peers,
        Self::Boot,
        Self::Pod,
        Self::Freed,
        Self::Sysctls,
    ];

    /// The version of such files: this program writes and reads no other.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            // 2: the ledger as it was decided; types that are neither gossip's nor the protocol's.
            Self::Ledger | Self::Cluster | Self::Peers => 2,
            Self::Identity | Self::Epoch | Self::Boot | Self::Pod | Self::Freed | Self::Sysctls => {
                1
            }
        }
    }

    /// Its name in a file's first line; except for pods, also the name of the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Epoch => "epoch",
            Self::Ledger => "ledger",
            Self::Cluster => "cluster",
            Self::Peers => "peers",
            Self::Boot => "boot",
            Self::Pod => "pod",
            Self::Freed => "freed",
            Self::Sysctls => "sysctls",
        }
    }
}
