//! Objects of a repository: named by the SHA-1 of their compressed bytes, so that a name proves its content.

use sha1::{Digest, Sha1};
use std::fmt;

/// A SHA-1 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 20]);

impl Hash {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha1::digest(bytes).into())
    }

    /// From forty hexadecimal digits. None: it is something else, such as a digest by another algorithm.
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 20];
        if text.len() != 40 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// What an object is; servers keep it under a name with this letter at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Chunk,
    Catalog,
    Certificate,
}

/// One object, and how many bytes it has when unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub hash: Hash,
    pub kind: Kind,
    pub size: u64,
}

impl Object {
    /// Its place below a repository: `data/ab/cdef...`, with the letter of its kind.
    pub fn path(&self) -> String {
        path(self.hash, self.kind)
    }
}

/// The place of an object of unknown size.
pub fn path(hash: Hash, kind: Kind) -> String {
    let name = hash.to_string();
    let letter = match kind {
        Kind::File => "",
        Kind::Chunk => "P",
        Kind::Catalog => "C",
        Kind::Certificate => "X",
    };
    format!("data/{}/{}{letter}", &name[..2], &name[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_as_it_was_read_and_nothing_else_is_one() {
        let text = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert_eq!(Hash::parse(text).unwrap().to_string(), text);
        assert_eq!(Hash::parse(text), Some(Hash::of(b"")));
        for other in ["", "da39", &format!("{text}-rmd160"), &text.replace('d', "g"), &text.replace("da", "+a")] {
            assert_eq!(Hash::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_chunk_lies_below_its_first_two_digits() {
        assert_eq!(path(Hash([0xab; 20]), Kind::Chunk), format!("data/ab/{}P", "ab".repeat(19)));
    }
}
