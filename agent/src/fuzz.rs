//! What fuzz targets have in common.
//!
//! A target takes any bytes, and asserts what must hold whatever they are. `cargo test` runs each on
//! its corpus, on random bytes, and on the corpus with random damage; `make fuzz` runs the same
//! functions under libFuzzer. A corpus lies beside the target's file, in `__fuzz__/NAME/corpus`. The
//! tests make it themselves, and see that it is what they would make: after a change of what is
//! sound, `make corpus` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};

use bolero::{TypeGenerator, ValueGenerator, produce};

/// How many inputs a target gets in one test, besides its corpus.
pub(crate) const INPUTS: usize = 20_000;

/// Says that the corpora are to be written.
const UPDATE: &str = "PODNET_UPDATE_CORPUS";

/// A sound input, with the name of its file in the corpus.
pub(crate) type Sample = (String, Vec<u8>);

/// What can befall bytes on their way.
#[derive(Debug, Clone, Copy, TypeGenerator)]
enum Damage {
    /// A bit is another.
    Flip { at: u16, bit: u8 },
    /// A byte is another.
    Put { at: u16, byte: u8 },
    /// A byte is there that was not.
    Insert { at: u16, byte: u8 },
    /// Some bytes are gone.
    Remove { at: u16, count: u8 },
    /// Some bytes are there twice.
    Repeat { at: u16, count: u8 },
    /// All is gone from here on.
    Cut { at: u16 },
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |at: u16| usize::from(at) % (length + 1);
        let some = |at: u16, count: u8| {
            let start = place(at);
            start..(start + usize::from(count)).min(length)
        };
        match self {
            Self::Flip { at, bit } => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Put { at, byte } => {
                if let Some(place) = bytes.get_mut(place(at)) {
                    *place = byte;
                }
            }
            Self::Insert { at, byte } => bytes.insert(place(at), byte),
            Self::Remove { at, count } => drop(bytes.drain(some(at, count))),
            Self::Repeat { at, count } => bytes.extend_from_within(some(at, count)),
            Self::Cut { at } => bytes.truncate(place(at)),
        }
    }
}

/// One of the samples, with one to four damages.
pub(crate) fn damaged(samples: Vec<Sample>) -> impl ValueGenerator<Output = Vec<u8>> {
    let damages = produce::<Vec<Damage>>().with().len(1..=4_usize);
    (0..samples.len(), damages).map_gen(move |(sample, damages): (usize, Vec<Damage>)| {
        let (_, mut bytes) = samples[sample].clone();
        for damage in damages {
            damage.apply(&mut bytes);
        }
        bytes
    })
}

/// Asserts that the corpus of a target in the source file `file` is made of these samples.
#[track_caller]
pub(crate) fn assert_corpus(file: &str, target: &str, samples: &[Sample]) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = workspace.join(file).parent().unwrap().to_owned();
    let corpus = folder.join("__fuzz__").join(target).join("corpus");
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(&corpus).unwrap();
        for path in entries(&corpus) {
            fs::remove_file(path).unwrap();
        }
        for (name, bytes) in samples {
            fs::write(corpus.join(name), bytes).unwrap();
        }
    }
    let found: Vec<(PathBuf, Vec<u8>)> = entries(&corpus)
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let mut expected: Vec<(PathBuf, Vec<u8>)> = samples
        .iter()
        .map(|(name, bytes)| (corpus.join(name), bytes.clone()))
        .collect();
    expected.sort();
    assert!(
        found == expected,
        "{} is not what this version makes: see `make corpus`",
        corpus.display()
    );
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}
