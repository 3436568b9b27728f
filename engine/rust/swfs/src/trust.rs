//! Who vouches for a revision: a master key signs the whitelist, the whitelist names certificates, a certificate signs
//! the manifest, the manifest names the root catalog by its hash. Nothing is believed that is not in this chain.
//!
//! A signed file is its text, `--`, the SHA-1 of the text in hexadecimal, and the signature of those forty digits. The
//! whitelist's signature is RSA's bare PKCS #1 v1.5 (without the name of a digest), the manifest's that of SHA-1.

use crate::{
    object::{Hash, Kind, Object},
    problem::Problem,
};
use flate2::read::ZlibDecoder;
use rsa::{Pkcs1v15Sign, RsaPublicKey, pkcs8::DecodePublicKey};
use sha1::{Digest, Sha1};
use std::{fs, io::Read, path::PathBuf, time::SystemTime};
use x509_cert::{
    Certificate,
    der::{DateTime, Decode, pem, referenced::OwnedToRef},
};

/// The most that a manifest, a whitelist or a certificate may have, in bytes.
pub const MOST: u64 = 1 << 20;

/// What servers say of a repository, as they sent it; the certificate is still compressed.
#[derive(Clone, PartialEq)]
pub struct Claim {
    pub manifest: Vec<u8>,
    pub whitelist: Vec<u8>,
    pub certificate: Vec<u8>,
}

/// A revision for which the whole chain was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub number: u64,
    pub root: Object,
    /// The end of the whitelist: from then on the chain says nothing new.
    pub expires: DateTime,
}

impl Revision {
    pub fn expired(&self, now: SystemTime) -> bool {
        self.expires.to_system_time() <= now
    }
}

/// Reads the master keys.
pub fn master_keys(files: &[PathBuf]) -> Result<Vec<RsaPublicKey>, Problem> {
    let read = |file: &PathBuf| {
        let problem = |why: String| {
            let cure = "name PEM files (BEGIN PUBLIC KEY) of RSA keys in public_keys";
            Problem::new("a master key cannot be read", file.display(), why, cure)
        };
        let text = fs::read_to_string(file).map_err(|error| problem(error.to_string()))?;
        RsaPublicKey::from_public_key_pem(&text).map_err(|error| problem(error.to_string()))
    };
    files.iter().map(read).collect()
}

/// Where the certificate of a manifest lies. The manifest need not be true for this.
pub fn certificate_path(manifest: &[u8]) -> Result<String, String> {
    let text = Signed::split(manifest).ok_or("the manifest has no signature")?.text;
    Ok(crate::object::path(hash(text, 'X')?, Kind::Certificate))
}

/// Checks the whole chain; the error is the first link that does not hold.
pub fn verify(claim: &Claim, repository: &str, masters: &[RsaPublicKey], now: SystemTime) -> Result<Revision, String> {
    let whitelist = Signed::split(&claim.whitelist).ok_or("the whitelist has no signature")?;
    whitelist.check_sum("whitelist")?;
    let bare = || Pkcs1v15Sign::new_unprefixed();
    if !masters.iter().any(|key| key.verify(bare(), whitelist.sum, whitelist.signature).is_ok()) {
        return Err("the whitelist is not signed by any of the master keys".into());
    }
    let named = field(whitelist.text, 'N').ok_or("the whitelist names no repository")?;
    if named != repository {
        return Err(format!("the whitelist is that of {named}, not of {repository}"));
    }
    let expires = field(whitelist.text, 'E').and_then(date).ok_or("the whitelist does not say when it expires")?;
    if expires.to_system_time() <= now {
        return Err(format!("the whitelist expired at {expires}"));
    }

    let manifest = Signed::split(&claim.manifest).ok_or("the manifest has no signature")?;
    manifest.check_sum("manifest")?;
    if Hash::of(&claim.certificate) != hash(manifest.text, 'X')? {
        return Err("the certificate is not the one that the manifest names".into());
    }
    let (fingerprint, key) = certificate(&claim.certificate)?;
    if !fingerprints(whitelist.text).any(|listed| listed == fingerprint) {
        return Err(format!("the certificate {fingerprint} is not in the whitelist"));
    }
    key.verify(Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest(manifest.sum), manifest.signature)
        .map_err(|_| "the manifest is not signed by its certificate")?;
    let named = field(manifest.text, 'N').ok_or("the manifest names no repository")?;
    if named != repository {
        return Err(format!("the manifest is that of {named}, not of {repository}"));
    }
    let root = Object { hash: hash(manifest.text, 'C')?, kind: Kind::Catalog, size: number(manifest.text, 'B')? };
    Ok(Revision { number: number(manifest.text, 'S')?, root, expires })
}

/// A signed file, taken apart.
struct Signed<'a> {
    text: &'a str,
    sum: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn split(file: &'a [u8]) -> Option<Self> {
        let end = file.windows(4).position(|bytes| bytes == b"\n--\n")? + 1;
        let (sum, rest) = file[end + 3..].split_at_checked(40)?;
        let signature = rest.strip_prefix(b"\n")?;
        Some(Self { text: str::from_utf8(&file[..end]).ok()?, sum, signature })
    }

    fn check_sum(&self, name: &str) -> Result<(), String> {
        if Hash::of(self.text.as_bytes()).to_string().as_bytes() == self.sum {
            return Ok(());
        }
        Err(format!("the {name} was altered: its text does not have the checksum that was signed"))
    }
}

/// The value of the first line that begins with this letter.
fn field(text: &str, letter: char) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix(letter))
}

fn hash(manifest: &str, letter: char) -> Result<Hash, String> {
    let value = field(manifest, letter).ok_or(format!("the manifest has no line {letter}"))?;
    Hash::parse(value).ok_or(format!("the manifest's line {letter} is no SHA-1: {value}"))
}

fn number(manifest: &str, letter: char) -> Result<u64, String> {
    let value = field(manifest, letter).ok_or(format!("the manifest has no line {letter}"))?;
    value.parse().map_err(|_| format!("the manifest's line {letter} is no number: {value}"))
}

/// A date as the whitelist writes it: `20261231235959`, UTC.
fn date(digits: &str) -> Option<DateTime> {
    if digits.len() != 14 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let two = |from: usize| digits[from..from + 2].parse::<u8>().ok();
    DateTime::new(digits[..4].parse().ok()?, two(4)?, two(6)?, two(8)?, two(10)?, two(12)?).ok()
}

/// Fingerprints stand on lines of their own, written `AB:CD:...`, perhaps with a remark behind `#`.
fn fingerprints(whitelist: &str) -> impl Iterator<Item = Hash> {
    whitelist.lines().filter_map(|line| Hash::parse(&line.split('#').next()?.trim().replace(':', "")))
}

/// SHA-1 fingerprint and public key of a compressed PEM certificate.
fn certificate(compressed: &[u8]) -> Result<(Hash, RsaPublicKey), String> {
    let unusable = |error: &dyn std::fmt::Display| format!("the certificate cannot be read: {error}");
    let mut text = Vec::new();
    ZlibDecoder::new(compressed).take(MOST).read_to_end(&mut text).map_err(|error| unusable(&error))?;
    let (_, der) = pem::decode_vec(&text).map_err(|error| unusable(&error))?;
    let parsed = Certificate::from_der(&der).map_err(|error| unusable(&error))?;
    let info = parsed.tbs_certificate.subject_public_key_info;
    let key = RsaPublicKey::try_from(info.owned_to_ref()).map_err(|error| unusable(&error))?;
    Ok((Hash::of(&der), key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NAME: &str = "software.example.org";
    const MASTER: &str = include_str!("../testdata/master.pub");
    const ANOTHER: &str = include_str!("../testdata/another.pub");

    /// Published for this module; the whitelist ends with January 2026.
    fn claim() -> Claim {
        Claim {
            manifest: include_bytes!("../testdata/manifest").into(),
            whitelist: include_bytes!("../testdata/whitelist").into(),
            certificate: include_bytes!("../testdata/certificate").into(),
        }
    }

    fn january() -> SystemTime {
        date("20260131235959").unwrap().to_system_time()
    }

    fn verified(claim: &Claim, name: &str, keys: &[&str], now: SystemTime) -> Result<Revision, String> {
        let keys: Vec<_> = keys.iter().map(|key| RsaPublicKey::from_public_key_pem(key).unwrap()).collect();
        verify(claim, name, &keys, now)
    }

    fn refused(claim: &Claim) -> String {
        verified(claim, NAME, &[MASTER], january()).unwrap_err()
    }

    fn edited(file: &[u8], from: &str, to: &str) -> Vec<u8> {
        let at = file.windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap();
        [&file[..at], to.as_bytes(), &file[at + from.len()..]].concat()
    }

    /// As an attacker would who has no key: with the checksum of the new text.
    fn edited_with_checksum(file: &[u8], from: &str, to: &str) -> Vec<u8> {
        let new = edited(file, from, to);
        let signed = Signed::split(&new).unwrap();
        let sum = Hash::of(signed.text.as_bytes()).to_string();
        [signed.text.as_bytes(), b"--\n", sum.as_bytes(), b"\n", signed.signature].concat()
    }

    #[test]
    fn the_whole_chain_gives_a_revision() {
        let revision = verified(&claim(), NAME, &[ANOTHER, MASTER], january()).unwrap();
        assert_eq!((revision.number, revision.root.hash, revision.root.size), (7, Hash([0xab; 20]), 4096));
        assert_eq!(revision.expires.to_string(), "2026-02-01T00:00:00Z");
        assert!(!revision.expired(january()));
    }

    #[test]
    fn a_whitelist_by_another_key_is_refused() {
        let why = verified(&claim(), NAME, &[ANOTHER], january()).unwrap_err();
        assert!(why.contains("not signed by any of the master keys"), "{why}");
    }

    #[test]
    fn an_expired_whitelist_is_refused() {
        let why = verified(&claim(), NAME, &[MASTER], january() + Duration::from_secs(1)).unwrap_err();
        assert!(why.contains("expired at 2026-02-01"), "{why}");
    }

    #[test]
    fn another_repository_is_refused() {
        let why = verified(&claim(), "physics.example.org", &[MASTER], january()).unwrap_err();
        assert!(why.contains("that of software.example.org, not of physics.example.org"), "{why}");
    }

    #[test]
    fn an_edited_whitelist_is_refused() {
        let whole = claim();
        let edit = ("E20260201", "E20360201");
        let altered = Claim { whitelist: edited(&whole.whitelist, edit.0, edit.1), ..whole.clone() };
        assert!(refused(&altered).contains("the whitelist was altered"));
        let forged = Claim { whitelist: edited_with_checksum(&whole.whitelist, edit.0, edit.1), ..whole };
        assert!(refused(&forged).contains("not signed by any of the master keys"));
    }

    #[test]
    fn an_edited_manifest_is_refused() {
        let whole = claim();
        let altered = Claim { manifest: edited(&whole.manifest, "\nS7\n", "\nS8\n"), ..whole.clone() };
        assert!(refused(&altered).contains("the manifest was altered"));
        let forged = Claim { manifest: edited_with_checksum(&whole.manifest, "\nS7\n", "\nS8\n"), ..whole };
        assert!(refused(&forged).contains("not signed by its certificate"));
    }

    #[test]
    fn a_certificate_that_is_not_the_one_is_refused() {
        let whole = claim();
        let other = Claim { certificate: whole.manifest.clone(), ..whole.clone() };
        assert!(refused(&other).contains("not the one that the manifest names"));
        let whitelist = include_bytes!("../testdata/whitelist-of-another-certificate").into();
        assert!(refused(&Claim { whitelist, ..whole }).contains("is not in the whitelist"));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = claim();
        for length in 0..whole.manifest.len() {
            refused(&Claim { manifest: whole.manifest[..length].into(), ..whole.clone() });
        }
        for length in 0..whole.whitelist.len() {
            refused(&Claim { whitelist: whole.whitelist[..length].into(), ..whole.clone() });
        }
    }

    #[test]
    fn the_certificate_lies_where_the_manifest_says() {
        let path = certificate_path(&claim().manifest).unwrap();
        assert_eq!(path, crate::object::path(Hash::of(&claim().certificate), Kind::Certificate));
        assert!(certificate_path(b"C1\n").is_err());
    }

    #[test]
    fn no_date_is_taken_that_is_none() {
        for text in ["", "2026", "20261301000000", "20260230000000", "2026020100000x", "202602010000000"] {
            assert!(date(text).is_none(), "{text}");
        }
    }
}
