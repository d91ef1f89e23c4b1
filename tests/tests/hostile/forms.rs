//! The forms in which a secret could be told.

use aho_corasick::AhoCorasick;
use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};

/// This many bytes of a key, in a row, tell too much of it.
const PART_OF_KEY: usize = 8;

/// The same of a token, whose form and version are no secret.
const PART_OF_TOKEN: usize = 16;

/// What must not be told.
pub(crate) struct Secrets {
    names: Vec<String>,
    /// Each pattern stands for the secret of the same place in `of`.
    patterns: Vec<Vec<u8>>,
    of: Vec<usize>,
}

impl Secrets {
    pub(crate) fn new() -> Self {
        let (names, patterns, of) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            names,
            patterns,
            of,
        }
    }

    /// Adds a key.
    pub(crate) fn key(&mut self, name: impl Into<String>, key: &[u8; 32]) {
        self.add(name.into(), key, PART_OF_KEY);
    }

    /// Adds a join token.
    pub(crate) fn token(&mut self, name: impl Into<String>, token: &str) {
        let (_version, body) = token.split_once('.').unwrap();
        self.add(name.into(), body.as_bytes(), PART_OF_TOKEN);
    }

    fn add(&mut self, name: String, secret: &[u8], part: usize) {
        for part in secret.windows(part) {
            for form in forms(part) {
                self.patterns.push(form);
                self.of.push(self.names.len());
            }
        }
        self.names.push(name);
    }

    /// Makes ready to look for what was added.
    pub(crate) fn search(&self) -> Search<'_> {
        Search {
            secrets: self,
            patterns: AhoCorasick::new(&self.patterns).unwrap(),
        }
    }
}

/// Looks for secrets.
pub(crate) struct Search<'a> {
    secrets: &'a Secrets,
    patterns: AhoCorasick,
}

impl Search<'_> {
    /// The secret that is told here, and what was said, if any is.
    pub(crate) fn told(&self, said: &[u8]) -> Option<String> {
        // Lists are written in one line or in many.
        let packed: Vec<u8> = said
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        [said, &packed].into_iter().find_map(|said| {
            let found = self.patterns.find(said)?;
            let name = &self.secrets.names[self.secrets.of[found.pattern()]];
            let around = found.start().saturating_sub(200)..(found.end() + 100).min(said.len());
            Some(format!("{name}: {}", said[around].escape_ascii()))
        })
    }
}

/// Bytes in all the ways in which programs write them, without white space.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let list = |separator: &str, item: fn(&u8) -> String| {
        let items: Vec<String> = bytes.iter().map(item).collect();
        items.join(separator)
    };
    let mut texts = vec![
        bytes.escape_ascii().to_string(),
        list(",", u8::to_string),
        list(",", |byte| format!("{byte:x}")),
        list(",", |byte| format!("{byte:02x}")),
        list(",", |byte| format!("0x{byte:x}")),
        list(",", |byte| format!("0x{byte:02x}")),
        list(":", |byte| format!("{byte:02x}")),
    ];
    for encoding in [HEXLOWER, HEXUPPER] {
        texts.extend(encoded(&encoding, bytes));
    }
    for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
        texts.extend(encoded(&encoding, bytes));
    }
    for text in encoded(&BASE32_NOPAD, bytes) {
        texts.push(text.to_lowercase());
        texts.push(text);
    }
    let raw = [bytes.to_vec()].into_iter();
    raw.chain(texts.into_iter().map(String::into_bytes))
        .collect()
}

/// Bytes as a part of what is encoded, wherever they are in it: what neighbours have no part in.
fn encoded(encoding: &Encoding, bytes: &[u8]) -> Vec<String> {
    let bits = encoding.bit_width();
    // After as many bytes a character begins with a byte again.
    let period = (1..).find(|bytes| bytes * 8 % bits == 0).unwrap();
    (0..period)
        .map(|before| {
            let all = [&vec![0; before], bytes].concat();
            let text = encoding.encode(&all);
            text[(before * 8).div_ceil(bits)..all.len() * 8 / bits].to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = *b"\x00\xfb\xff\x3e7\x80 a\n\x01\x02\xfe\"\\zZ\xc3\xa9+/-_\x7f\x1b\r\t9\x10\x99\xee\x55\x04";

    fn told(said: impl AsRef<[u8]>) -> bool {
        let mut secrets = Secrets::new();
        secrets.key("key", &KEY);
        secrets.search().told(said.as_ref()).is_some()
    }

    #[test]
    fn whatever_the_form_a_secret_is_found() {
        let said = [
            format!("{KEY:?}"),
            format!("{KEY:#?}"),
            format!("{KEY:x?}"),
            format!("{KEY:02x?}"),
            format!("{KEY:#x?}"),
            serde_json::to_string(&KEY).unwrap(),
            format!("b\"{}\"", KEY.escape_ascii()),
            HEXLOWER.encode(&KEY),
            HEXUPPER.encode(&KEY),
            KEY.map(|byte| format!("{byte:02x}")).join(":"),
            KEY.map(|byte| format!("{byte:02X}")).join(" "),
            BASE32_NOPAD.encode(&KEY),
            BASE32_NOPAD.encode(&KEY).to_lowercase(),
        ];
        for said in said {
            assert!(told(&said), "{said}");
        }
        for before in 0..15 {
            let all = [&b"prefix-or-more-"[..before], &KEY, b"suffix"].concat();
            assert!(told(&all), "raw");
            for encoding in [BASE64_NOPAD, BASE64URL_NOPAD, BASE32_NOPAD] {
                let text = encoding.encode(&all);
                assert!(told(&text), "{text}");
            }
        }
        for start in 0..=KEY.len() - 10 {
            assert!(told(BASE64_NOPAD.encode(&KEY[start..start + 10])));
        }
    }

    #[test]
    fn what_is_no_secret_is_not_found() {
        let other = KEY.map(|byte| byte ^ 1);
        for said in [
            format!("{other:?}"),
            BASE64_NOPAD.encode(&other),
            HEXLOWER.encode(&KEY[..7]),
            String::new(),
        ] {
            assert!(!told(&said), "{said}");
        }
    }
}
