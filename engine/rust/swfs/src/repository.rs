//! A repository: the revision that is mounted, and what its catalogs say of paths.
//!
//! A path is bytes without a slash at its end: empty for the root, else `/a/b`. Catalogs are SQLite files; one may name
//! nested ones that hold what lies below a folder. They are named by their hashes, as all objects are, so a catalog that
//! did not change serves the next revision, too.

use crate::{
    cache::{Cache, Held, Miss, Reach},
    config::Config,
    fetch::Fetcher,
    object::{Hash, Kind, Object},
    problem::Problem,
    trust::{self, Claim, MOST, Revision},
};
use md5::{Digest, Md5};
use rsa::RsaPublicKey;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
    time::SystemTime,
};

/// Open catalogs are held in the cache whatever its quota.
const MOST_CATALOGS: usize = 32;

// The bits of a catalog's `flags`.
const DIRECTORY: u32 = 1;
const SYMLINK: u32 = 8;
const SPECIAL: u32 = 16;
const CHUNKED: u32 = 64;
const EXTERNAL: u32 = 128;
/// Three bits for the algorithm of the hash, three for that of the compression: 0 is SHA-1 and zlib.
const ALGORITHMS: u32 = 0b111_111 << 8;

const COLUMNS: &str = "SELECT name, flags, mode, mtime, size, hash, symlink FROM catalog";

/// What a catalog says of one path.
#[derive(Debug, PartialEq)]
pub struct Node {
    pub what: What,
    /// Permissions alone.
    pub mode: u16,
    /// Seconds of Unix time.
    pub mtime: i64,
    pub size: u64,
}

#[derive(Debug, PartialEq)]
pub enum What {
    Directory,
    Symlink(Vec<u8>),
    /// Pieces follow each other without a gap, up to the size.
    File(Vec<Piece>),
    /// A file that cannot be read, and why.
    Unreadable(&'static str),
}

/// A part of a file, from `offset` on.
#[derive(Debug, PartialEq)]
pub struct Piece {
    pub offset: u64,
    pub object: Object,
}

pub struct Repository {
    pub name: String,
    cache: Cache<Fetcher>,
    masters: Vec<RsaPublicKey>,
    accepted: Mutex<Claim>,
    revision: RwLock<Arc<Revision>>,
    catalogs: Mutex<Catalogs>,
    /// Where the last accepted claim is kept, for a start without servers.
    kept: PathBuf,
}

/// Open catalogs, with the turn in which each was last used.
#[derive(Default)]
struct Catalogs {
    open: HashMap<Hash, (u64, Arc<Catalog>)>,
    turn: u64,
}

/// What one look at the servers brought.
#[derive(Debug, PartialEq)]
pub enum News {
    None,
    Revision,
    /// What was mounted stays, for this reason.
    Refused(String),
}

impl Repository {
    /// Finds the newest revision that can be believed. When no server answers, the last one that was mounted is taken,
    /// if it is still to be believed.
    pub fn open(config: &Config) -> Result<Self, Problem> {
        let masters = trust::master_keys(&config.public_keys)?;
        let fetcher = Fetcher::new(config)?;
        let kept = config.cache.join("accepted");
        let check = |claim: &Claim| trust::verify(claim, &config.repository, &masters, SystemTime::now());
        let before = read_claim(&kept).ok().and_then(|claim| Some((check(&claim).ok()?, claim)));
        let refused = |why: String| {
            let place = format!("{} at {}", config.repository, fetcher.server());
            let cure = "compare repository, servers and public_keys with what the publisher says; \
                        an expired whitelist must be signed anew by the publisher";
            Problem::new("the repository is not mounted", place, why, cure)
        };
        let (revision, claim) = match (claim(&fetcher), before) {
            (Ok(claim), before) => {
                let revision = check(&claim).map_err(refused)?;
                match before.map(|before| (succeeds(&before.0, &revision), before)) {
                    Some((Err(why), before)) => {
                        eprintln!("{why}; it is refused. If it was made anew, remove {}", kept.display());
                        before
                    }
                    _ => (revision, claim),
                }
            }
            (Err(why), Some(before)) => {
                eprintln!("{why}; revision {} is taken, which was mounted before", before.0.number);
                before
            }
            (Err(why), None) => {
                let place = config.servers.join(", ");
                return Err(Problem::new("no server has the repository", place, why, "check servers and proxies"));
            }
        };
        let repository = Self {
            name: config.repository.clone(),
            cache: Cache::open(&config.cache, config.quota_mib << 20, fetcher)?,
            masters,
            accepted: Mutex::new(claim),
            revision: RwLock::new(Arc::new(revision)),
            catalogs: Mutex::default(),
            kept,
        };
        let root = repository.revision().root;
        repository.catalog(&root, Reach::Servers).map_err(|miss| {
            let cure = "publish again, or ask who runs the server";
            Problem::new("the root catalog cannot be had", &repository.name, miss, cure)
        })?;
        repository.keep();
        Ok(repository)
    }

    pub fn revision(&self) -> Arc<Revision> {
        self.revision.read().unwrap().clone()
    }

    pub fn cache(&self) -> &Cache<Fetcher> {
        &self.cache
    }

    /// Asks the servers once. A new revision is taken when it is believed, is newer, and its root catalog is here.
    pub fn follow(&self) -> News {
        let mounted = self.revision();
        let now = SystemTime::now();
        let manifest = match self.cache.source().small(".cvmfspublished", MOST) {
            Ok(manifest) => manifest,
            Err(why) => return News::Refused(why),
        };
        if manifest == self.accepted.lock().unwrap().manifest && !mounted.expired(now) {
            return News::None;
        }
        let followed = complete(self.cache.source(), manifest).and_then(|claim| {
            let revision = trust::verify(&claim, &self.name, &self.masters, now)?;
            succeeds(&mounted, &revision)?;
            self.catalog(&revision.root, Reach::Servers)
                .map_err(|miss| format!("revision {}: its root catalog cannot be had: {miss}", revision.number))?;
            Ok((revision, claim))
        });
        match followed {
            Ok((revision, claim)) => {
                let newer = revision.number > mounted.number;
                *self.accepted.lock().unwrap() = claim;
                *self.revision.write().unwrap() = Arc::new(revision);
                self.keep();
                if newer { News::Revision } else { News::None }
            }
            Err(why) => News::Refused(why),
        }
    }

    /// What lies at a path.
    pub fn node(&self, path: &[u8], reach: Reach) -> Result<Node, Miss> {
        self.holder(path, false, reach)?.node(path)?.ok_or(Miss::Absent)
    }

    /// The names in a folder, with what they are.
    pub fn list(&self, path: &[u8], reach: Reach) -> Result<Vec<(Vec<u8>, Node)>, Miss> {
        self.holder(path, true, reach)?.list(path)
    }

    /// The catalog that describes a path, or, `inside`, what the folder at this path contains: a nested catalog is not
    /// needed to know the folder itself.
    fn holder(&self, path: &[u8], inside: bool, reach: Reach) -> Result<Arc<Catalog>, Miss> {
        let mut catalog = self.catalog(&self.revision().root, reach)?;
        let slashes = path.iter().enumerate().filter(|(at, byte)| *at > 0 && **byte == b'/').map(|(at, _)| at);
        for end in slashes.chain(inside.then_some(path.len())) {
            if let Some(nested) = catalog.nested.get(&path[..end]).copied() {
                catalog = self.catalog(&nested, reach)?;
            }
        }
        Ok(catalog)
    }

    fn catalog(&self, object: &Object, reach: Reach) -> Result<Arc<Catalog>, Miss> {
        if let Some(catalog) = self.catalogs.lock().unwrap().find(object.hash)
            && catalog.held.is_whole()
        {
            return Ok(catalog);
        }
        let held = self.cache.get(object, reach)?;
        let catalog = Arc::new(Catalog::open(held).map_err(|error| unreadable(&error))?);
        self.catalogs.lock().unwrap().add(object.hash, catalog.clone());
        Ok(catalog)
    }

    /// Keeps what was accepted; without it only a start without servers is lost, so a failure is told and no more.
    fn keep(&self) {
        if let Err(error) = write_claim(&self.kept, &self.accepted.lock().unwrap()) {
            eprintln!("{}: {error}; a start without servers will not be possible", self.kept.display());
        }
    }
}

impl Catalogs {
    fn find(&mut self, hash: Hash) -> Option<Arc<Catalog>> {
        let (turn, catalog) = self.open.get_mut(&hash)?;
        self.turn += 1;
        *turn = self.turn;
        Some(catalog.clone())
    }

    fn add(&mut self, hash: Hash, catalog: Arc<Catalog>) {
        self.turn += 1;
        self.open.insert(hash, (self.turn, catalog));
        if self.open.len() > MOST_CATALOGS {
            let oldest = self.open.iter().min_by_key(|(_, (turn, _))| *turn).map(|(hash, _)| *hash);
            self.open.remove(&oldest.unwrap());
        }
    }
}

struct Catalog {
    database: Mutex<Connection>,
    nested: HashMap<Vec<u8>, Object>,
    held: Arc<Held>,
}

impl Catalog {
    fn open(held: Arc<Held>) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(format!("file:{}?immutable=1", held.path.display()), flags)?;
        let nested = database
            .prepare("SELECT path, sha1, size FROM nested_catalogs")?
            .query_map([], |row| {
                let hash = Hash::parse(&row.get::<_, String>(1)?).ok_or(rusqlite::Error::InvalidQuery)?;
                let object = Object { hash, kind: Kind::Catalog, size: row.get(2)? };
                Ok((row.get_ref(0)?.as_bytes()?.to_vec(), object))
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { database: Mutex::new(database), nested, held })
    }

    fn node(&self, path: &[u8]) -> Result<Option<Node>, Miss> {
        let (first, second) = digest(path);
        let database = self.database.lock().unwrap();
        let found = database
            .prepare_cached(&format!("{COLUMNS} WHERE md5path_1 = ? AND md5path_2 = ?"))
            .and_then(|mut query| query.query_row(params![first, second], raw).optional())
            .map_err(|error| unreadable(&error))?;
        found.map(|raw| raw.node(path, &database)).transpose()
    }

    fn list(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, Node)>, Miss> {
        let (first, second) = digest(path);
        let database = self.database.lock().unwrap();
        let found: Vec<Raw> = database
            .prepare_cached(&format!("{COLUMNS} WHERE parent_1 = ? AND parent_2 = ?"))
            .and_then(|mut query| query.query_map(params![first, second], raw)?.collect())
            .map_err(|error| unreadable(&error))?;
        let named = |raw: Raw| {
            let path = [path, b"/", &raw.name].concat();
            Ok((raw.name.clone(), raw.node(&path, &database)?))
        };
        found.into_iter().map(named).collect()
    }
}

/// A row of a catalog as it is stored.
struct Raw {
    name: Vec<u8>,
    flags: u32,
    mode: u32,
    mtime: i64,
    size: u64,
    hash: Option<Vec<u8>>,
    symlink: Vec<u8>,
}

fn raw(row: &Row) -> rusqlite::Result<Raw> {
    Ok(Raw {
        name: row.get_ref(0)?.as_bytes()?.to_vec(),
        flags: row.get(1)?,
        mode: row.get(2)?,
        mtime: row.get(3)?,
        size: row.get(4)?,
        hash: row.get(5)?,
        symlink: row.get_ref(6)?.as_bytes_or_null()?.unwrap_or_default().to_vec(),
    })
}

impl Raw {
    fn node(&self, path: &[u8], database: &Connection) -> Result<Node, Miss> {
        let what = if self.flags & DIRECTORY != 0 {
            What::Directory
        } else if self.flags & SYMLINK != 0 {
            What::Symlink(self.symlink.clone())
        } else if self.flags & (SPECIAL | EXTERNAL | ALGORITHMS) != 0 {
            What::Unreadable("only files that are compressed with zlib and named by SHA-1 can be read")
        } else if self.flags & CHUNKED != 0 {
            chunks(path, self.size, database).map_err(|error| unreadable(&error))?
        } else {
            match self.hash.as_deref().and_then(|hash| hash.try_into().ok()) {
                Some(hash) => {
                    let object = Object { hash: Hash(hash), kind: Kind::File, size: self.size };
                    What::File(vec![Piece { offset: 0, object }])
                }
                None => What::Unreadable("its catalog gives no hash"),
            }
        };
        let size = if let What::Symlink(target) = &what { target.len() as u64 } else { self.size };
        Ok(Node { what, mode: (self.mode & 0o7777) as u16, mtime: self.mtime, size })
    }
}

/// A file of chunks, which must follow each other and have its size.
fn chunks(path: &[u8], size: u64, database: &Connection) -> rusqlite::Result<What> {
    let (first, second) = digest(path);
    let chunk = |row: &Row| {
        let object = Object { hash: Hash(row.get(2)?), kind: Kind::Chunk, size: row.get(1)? };
        Ok(Piece { offset: row.get(0)?, object })
    };
    let pieces: Vec<Piece> = database
        .prepare_cached("SELECT offset, size, hash FROM chunks WHERE md5path_1 = ? AND md5path_2 = ? ORDER BY offset")?
        .query_map(params![first, second], chunk)?
        .collect::<rusqlite::Result<_>>()?;
    let end = pieces.iter().try_fold(0, |end, piece| (piece.offset == end).then_some(end + piece.object.size));
    Ok(if end == Some(size) { What::File(pieces) } else { What::Unreadable("its chunks do not have its size") })
}

/// The key of a path in a catalog.
fn digest(path: &[u8]) -> (i64, i64) {
    let digest: [u8; 16] = Md5::digest(path).into();
    let half = |from: usize| i64::from_le_bytes(digest[from..from + 8].try_into().unwrap());
    (half(0), half(8))
}

fn unreadable(error: &rusqlite::Error) -> Miss {
    Miss::failed(format!("a catalog cannot be read: {error}"))
}

/// Whether a revision may follow another: never an older one (a replay), and never another under the same number.
fn succeeds(older: &Revision, newer: &Revision) -> Result<(), String> {
    if newer.number < older.number {
        return Err(format!("revision {} is older than {}, which was mounted already", newer.number, older.number));
    }
    if newer.number == older.number && newer.root != older.root {
        return Err(format!("revision {} was mounted already with another content", newer.number));
    }
    Ok(())
}

/// What the servers say now.
pub fn claim(fetcher: &Fetcher) -> Result<Claim, String> {
    complete(fetcher, fetcher.small(".cvmfspublished", MOST)?)
}

fn complete(fetcher: &Fetcher, manifest: Vec<u8>) -> Result<Claim, String> {
    let certificate = fetcher.small(&trust::certificate_path(&manifest)?, MOST)?;
    Ok(Claim { whitelist: fetcher.small(".cvmfswhitelist", MOST)?, manifest, certificate })
}

fn read_claim(folder: &Path) -> io::Result<Claim> {
    let read = |name: &str| fs::read(folder.join(name));
    Ok(Claim { manifest: read("manifest")?, whitelist: read("whitelist")?, certificate: read("certificate")? })
}

fn write_claim(folder: &Path, claim: &Claim) -> io::Result<()> {
    let new = folder.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir(&new)?;
    for (name, content) in
        [("manifest", &claim.manifest), ("whitelist", &claim.whitelist), ("certificate", &claim.certificate)]
    {
        fs::write(new.join(name), content)?;
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(new, folder)
}
