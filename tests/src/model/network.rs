//! A model of the underlay: loss, delay, duplicates, reorder, partitions.

/// How the underlay behaves while faults last.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// The share of datagrams that are lost.
    pub loss: f64,
    /// The share that arrives twice.
    pub duplicates: f64,
    /// The usual longest delay, in milliseconds.
    pub delay: u64,
    /// The share that takes up to five seconds.
    pub stragglers: f64,
    /// How many values one message holds.
    pub room: usize,
}

impl Weather {
    /// Nothing is lost or late.
    pub const FAIR: Self = Self {
        loss: 0.0,
        duplicates: 0.0,
        delay: 5,
        stragglers: 0.0,
        room: 1000,
    };
}

/// Which datagrams do not get through.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// Those between the hosts of this set (a bit for each host) and the others.
    Apart(u64),
    /// Those that the hosts of this set send to the others.
    Mute(u64),
    /// Those that the others send to the hosts of this set.
    Deaf(u64),
}

impl Cut {
    fn stops(self, from: usize, to: usize) -> bool {
        let holds = |set: u64, host: usize| set >> host & 1 == 1;
        match self {
            Self::Apart(set) => holds(set, from) != holds(set, to),
            Self::Mute(set) => holds(set, from) && !holds(set, to),
            Self::Deaf(set) => !holds(set, from) && holds(set, to),
        }
    }
}

/// The underlay.
#[derive(Debug)]
pub struct Network {
    /// How it behaves.
    pub weather: Weather,
    /// What is cut.
    pub cuts: Vec<Cut>,
}

impl Network {
    /// The delays, in milliseconds, after which a datagram arrives: none, once or twice.
    #[must_use]
    pub fn arrivals(&self, from: usize, to: usize, rng: &mut fastrand::Rng) -> Vec<u64> {
        if self.is_cut(from, to) || rng.f64() < self.weather.loss {
            return Vec::new();
        }
        let copies = if rng.f64() < self.weather.duplicates {
            2
        } else {
            1
        };
        (0..copies)
            .map(|_| {
                let late = rng.f64() < self.weather.stragglers;
                1 + rng.u64(0..if late { 5000 } else { self.weather.delay })
            })
            .collect()
    }
    /// Whether nothing gets from one host to another.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.iter().any(|cut| cut.stops(from, to))
    }
}
