//! The cache: verified, unpacked objects in files, within a quota.
//!
//! An object is there whole or not at all: it is written beside and renamed. Of all readers who miss the same object
//! one fetches it and the others wait. What was used longest ago goes first when the quota is reached, and what somebody
//! holds goes last; whoever holds it reads on, and its room on the disk is free when it is let go. The folder survives
//! restarts. A file's name ends in the CRC-32 of its content: before a file is used for the first time, or after anybody
//! wrote into it, it is read and compared; what does not match is fetched anew.

use crate::{
    object::{Hash, Object},
    problem::Problem,
};
use nix::fcntl::{Flock, FlockArg};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, Weak},
    time::{Duration, Instant},
};

/// How long an object that could not be had is not asked for again.
pub const NEGATIVE: Duration = Duration::from_secs(4);

/// Where objects come from.
pub trait Source {
    /// Writes the verified content of an object from the beginning of `file`, and gives its CRC-32.
    fn fetch(&self, object: &Object, file: &mut File) -> Result<u32, String>;
}

/// How far a call may go.
#[derive(Clone, Copy, PartialEq)]
pub enum Reach {
    /// Only to what is at hand: it does not wait.
    Hand,
    Servers,
}

/// Why there is nothing.
#[derive(Debug)]
pub enum Miss {
    /// It is not at hand; `Reach::Servers` may have it.
    Cold,
    Absent,
    Failed(Arc<str>),
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cold => write!(out, "it is not at hand"),
            Self::Absent => write!(out, "it does not exist"),
            Self::Failed(why) => write!(out, "{why}"),
        }
    }
}

impl Miss {
    pub fn failed(why: impl ToString) -> Self {
        Self::Failed(why.to_string().into())
    }
}

/// An object in use: it can be read until this is dropped.
#[derive(Debug)]
pub struct Held {
    pub file: File,
    pub path: PathBuf,
    stamp: Stamp,
}

impl Held {
    fn new(file: File, path: PathBuf) -> io::Result<Self> {
        Ok(Self { stamp: Stamp::of(&file)?, file, path })
    }

    /// Whether nobody wrote into the file since it was found right.
    pub fn is_whole(&self) -> bool {
        Stamp::of(&self.file).is_ok_and(|stamp| stamp == self.stamp)
    }
}

/// Size and time of a file, which change when somebody writes into it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp(u64, i64, i64);

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let status = file.metadata()?;
        Ok(Self(status.size(), status.mtime(), status.mtime_nsec()))
    }
}

pub struct Cache<S> {
    source: S,
    folder: PathBuf,
    quota: u64,
    index: Mutex<Index>,
    changed: Condvar,
    _lock: Flock<File>,
}

/// All that is known of the folder. `used` is the bytes of all files, and of those on their way.
#[derive(Default)]
struct Index {
    slots: HashMap<Hash, Slot>,
    /// The turns in which objects were last used.
    order: BTreeMap<u64, Hash>,
    turn: u64,
    used: u64,
}

enum Slot {
    /// Somebody fetches or checks it.
    Busy,
    Here(Entry),
    Failed {
        until: Instant,
        why: Arc<str>,
    },
}

struct Entry {
    size: u64,
    crc: u32,
    turn: u64,
    /// How the file was when its content was found right.
    checked: Option<Stamp>,
    held: Weak<Held>,
}

impl<S: Source> Cache<S> {
    /// Opens the folder, and makes it if need be. Unfinished files of an earlier run go.
    pub fn open(folder: &Path, quota: u64, source: S) -> Result<Self, Problem> {
        let problem = |why: String, cure: &str| Problem::new("the cache cannot be used", folder.display(), why, cure);
        let unusable = |error: io::Error| problem(error.to_string(), "name a folder in which root may write");
        let unfinished = folder.join("unfinished");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        let lock = File::create(folder.join("lock")).map_err(unusable)?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|_| {
            problem("another swfs uses it".into(), "end the other one, or give each repository a cache of its own")
        })?;
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(unusable)?;
        }
        fs::create_dir_all(&unfinished).map_err(unusable)?;
        fs::create_dir_all(folder.join("objects")).map_err(unusable)?;
        let index = Index::scan(&folder.join("objects")).map_err(unusable)?;
        let cache = Self {
            source,
            folder: folder.into(),
            quota,
            index: Mutex::new(index),
            changed: Condvar::new(),
            _lock: lock,
        };
        cache.make_room(&mut cache.index(), 0);
        Ok(cache)
    }

    pub fn source(&self) -> &S {
        &self.source
    }

    /// Bytes in use, and the quota.
    pub fn usage(&self) -> (u64, u64) {
        (self.index().used, self.quota)
    }

    /// The object, from the folder or from the source.
    pub fn get(&self, object: &Object, reach: Reach) -> Result<Arc<Held>, Miss> {
        let mut index = self.index();
        let mut before = None;
        loop {
            match index.slots.get(&object.hash) {
                Some(Slot::Here(entry)) => {
                    if let Some(held) = self.ready(object, entry) {
                        index.use_now(object.hash, &held);
                        return Ok(held);
                    }
                    if reach == Reach::Servers {
                        before = index.remove(object.hash).map(|entry| entry.crc);
                    }
                }
                Some(Slot::Failed { until, why }) if Instant::now() < *until => return Err(Miss::Failed(why.clone())),
                Some(Slot::Busy) if reach == Reach::Servers => {
                    index = self.changed.wait(index).unwrap();
                    continue;
                }
                _ => {}
            }
            if reach == Reach::Hand {
                return Err(Miss::Cold);
            }
            if object.size > self.quota {
                let (size, quota) = (object.size >> 20, self.quota >> 20);
                return Err(Miss::failed(format!("an object of {size} MiB needs a bigger quota_mib than {quota}")));
            }
            if self.make_room(&mut index, object.size) {
                break;
            }
            index = self.changed.wait(index).unwrap();
        }
        index.slots.insert(object.hash, Slot::Busy);
        index.used += object.size;
        drop(index);

        let got = self.obtain(object, before);

        let mut index = self.index();
        let result = match got {
            Ok((crc, held)) => {
                let held = Arc::new(held);
                let entry = Entry { size: object.size, crc, turn: 0, checked: Some(held.stamp), held: Weak::new() };
                index.slots.insert(object.hash, Slot::Here(entry));
                index.use_now(object.hash, &held);
                Ok(held)
            }
            Err(why) => {
                index.used -= object.size;
                let (why, now): (Arc<str>, _) = (why.into(), Instant::now());
                index.slots.retain(|_, slot| !matches!(slot, Slot::Failed { until, .. } if *until < now));
                index.slots.insert(object.hash, Slot::Failed { until: now + NEGATIVE, why: why.clone() });
                Err(Miss::Failed(why))
            }
        };
        self.changed.notify_all();
        result
    }

    /// The file, if it is known to be right.
    fn ready(&self, object: &Object, entry: &Entry) -> Option<Arc<Held>> {
        if let Some(held) = entry.held.upgrade().filter(|held| held.is_whole()) {
            return Some(held);
        }
        let path = self.path(object.hash, entry.crc);
        let held = File::open(&path).and_then(|file| Held::new(file, path)).ok()?;
        (entry.size == object.size && entry.checked == Some(held.stamp)).then(|| held.into())
    }

    /// The file with this CRC-32 if there is one and it is whole, else a new one.
    fn obtain(&self, object: &Object, before: Option<u32>) -> Result<(u32, Held), String> {
        if let Some(crc) = before {
            let path = self.path(object.hash, crc);
            let held = File::open(&path).and_then(|file| Held::new(file, path.clone()));
            match held.and_then(|held| Ok((sum(&held.file)?, held))) {
                Ok((found, held)) if found == (object.size, crc) => return Ok((crc, held)),
                _ => eprintln!("{} was damaged or removed; it is fetched again", path.display()),
            }
            let _ = fs::remove_file(&path); // it may be gone
        }
        let part = self.folder.join("unfinished").join(object.hash.to_string());
        let made = self.fetch(object, &part);
        if made.is_err() {
            let _ = fs::remove_file(&part); // it may not have come about
        }
        made
    }

    fn fetch(&self, object: &Object, part: &Path) -> Result<(u32, Held), String> {
        let unwritable = |error: io::Error| format!("the cache cannot be written: {error}");
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(part).map_err(unwritable)?;
        let crc = self.source.fetch(object, &mut file)?;
        let path = self.path(object.hash, crc);
        fs::create_dir_all(path.parent().unwrap()).and_then(|()| fs::rename(part, &path)).map_err(unwritable)?;
        Ok((crc, Held::new(file, path).map_err(unwritable)?))
    }

    /// Removes what was used longest ago until there is room for so many bytes, what is held last. False: there will be
    /// room when something on its way has come.
    fn make_room(&self, index: &mut Index, size: u64) -> bool {
        while index.used + size > self.quota {
            let idle =
                |hash: &&Hash| matches!(&index.slots[*hash], Slot::Here(entry) if entry.held.strong_count() == 0);
            let Some(hash) = index.order.values().find(idle).or(index.order.values().next()).copied() else {
                return false;
            };
            if let Some(entry) = index.remove(hash) {
                let _ = fs::remove_file(self.path(hash, entry.crc)); // it may be gone
            }
        }
        true
    }

    fn path(&self, hash: Hash, crc: u32) -> PathBuf {
        let name = hash.to_string();
        self.folder.join("objects").join(&name[..2]).join(format!("{name}-{crc:08x}"))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap()
    }
}

impl Index {
    /// What lies in the folder, in the order in which it was last read; strange files are removed.
    fn scan(objects: &Path) -> io::Result<Self> {
        let mut found = Vec::new();
        for folder in fs::read_dir(objects)? {
            for file in fs::read_dir(folder?.path())? {
                let file = file?;
                let status = file.metadata()?;
                found.push((status.accessed()?, status.len(), file.path()));
            }
        }
        found.sort();
        let mut index = Self::default();
        for (_, size, path) in found {
            match path.file_name().and_then(|name| named(name.to_str()?)) {
                Some((hash, crc)) if !index.slots.contains_key(&hash) => {
                    index.turn += 1;
                    index.used += size;
                    index.order.insert(index.turn, hash);
                    let entry = Entry { size, crc, turn: index.turn, checked: None, held: Weak::new() };
                    index.slots.insert(hash, Slot::Here(entry));
                }
                _ => fs::remove_file(path)?,
            }
        }
        Ok(index)
    }

    fn remove(&mut self, hash: Hash) -> Option<Entry> {
        let Some(Slot::Here(entry)) = self.slots.remove(&hash) else { return None };
        self.order.remove(&entry.turn);
        self.used -= entry.size;
        Some(entry)
    }

    fn use_now(&mut self, hash: Hash, held: &Arc<Held>) {
        if let Some(Slot::Here(entry)) = self.slots.get_mut(&hash) {
            self.turn += 1;
            self.order.remove(&entry.turn);
            self.order.insert(self.turn, hash);
            entry.turn = self.turn;
            entry.held = Arc::downgrade(held);
        }
    }
}

/// Hash and CRC-32 from a file's name.
fn named(file: &str) -> Option<(Hash, u32)> {
    let (hash, crc) = file.split_once('-')?;
    Some((Hash::parse(hash)?, u32::from_str_radix(crc, 16).ok()?))
}

/// Size and CRC-32 of a file's content.
fn sum(mut file: &File) -> io::Result<(u64, u32)> {
    let (mut crc, mut block, mut size) = (crc32fast::Hasher::new(), vec![0; 128 << 10], 0);
    loop {
        match file.read(&mut block)? {
            0 => return Ok((size, crc.finalize())),
            count => {
                size += count as u64;
                crc.update(&block[..count]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;
    use std::{io::Write, os::unix::fs::FileExt, sync::atomic::AtomicU64, sync::atomic::Ordering, thread};

    /// Gives objects whose bytes are all the first of their hash, and counts.
    #[derive(Default)]
    struct Counting {
        fetched: AtomicU64,
        broken: Mutex<Option<String>>,
    }

    impl Source for Counting {
        fn fetch(&self, object: &Object, file: &mut File) -> Result<u32, String> {
            self.fetched.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(20));
            let content = vec![object.hash.0[0]; object.size as usize];
            file.write_all(&content).unwrap();
            self.broken.lock().unwrap().clone().map_or(Ok(crc32fast::hash(&content)), Err)
        }
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("swfs-cache-{}-{name}", std::process::id()));
            Self(path)
        }

        fn open(&self, quota: u64) -> Cache<Counting> {
            Cache::open(&self.0, quota, Counting::default()).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn object(first: u8, size: u64) -> Object {
        Object { hash: Hash([first; 20]), kind: Kind::File, size }
    }

    fn content(held: &Held) -> Vec<u8> {
        fs::read(&held.path).unwrap()
    }

    fn on_disk(folder: &Path) -> u64 {
        let sizes =
            |path: fs::DirEntry| fs::read_dir(path.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        fs::read_dir(folder.join("objects")).unwrap().flat_map(|path| sizes(path.unwrap())).sum()
    }

    #[test]
    fn what_is_not_at_hand_is_not_waited_for() {
        let folder = Folder::new("hand");
        let cache = folder.open(100);
        assert!(matches!(cache.get(&object(1, 5), Reach::Hand), Err(Miss::Cold)));
        cache.get(&object(1, 5), Reach::Servers).unwrap();
        assert_eq!(content(&cache.get(&object(1, 5), Reach::Hand).unwrap()), [1; 5]);
    }

    #[test]
    fn many_readers_of_one_object_fetch_it_once() {
        let folder = Folder::new("flight");
        let cache = folder.open(100);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(content(&cache.get(&object(1, 5), Reach::Servers).unwrap()), [1; 5]));
            }
        });
        assert_eq!(cache.source.fetched.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_quota_is_kept_by_removing_what_was_used_longest_ago() {
        let folder = Folder::new("quota");
        let cache = folder.open(100);
        for first in 1..=3 {
            cache.get(&object(first, 30), Reach::Servers).unwrap();
        }
        cache.get(&object(1, 30), Reach::Hand).unwrap();
        cache.get(&object(4, 30), Reach::Servers).unwrap();
        assert!(matches!(cache.get(&object(2, 30), Reach::Hand), Err(Miss::Cold)));
        for first in [1, 3, 4] {
            cache.get(&object(first, 30), Reach::Hand).unwrap();
        }
        assert_eq!((cache.usage().0, on_disk(&folder.0)), (90, 90));
    }

    #[test]
    fn what_is_held_goes_last_and_can_be_read_on() {
        let folder = Folder::new("held");
        let cache = folder.open(100);
        let held = cache.get(&object(1, 40), Reach::Servers).unwrap();
        cache.get(&object(2, 40), Reach::Servers).unwrap();
        cache.get(&object(3, 40), Reach::Servers).unwrap();
        assert!(matches!(cache.get(&object(2, 40), Reach::Hand), Err(Miss::Cold)), "it was idle");
        assert_eq!(content(&cache.get(&object(1, 40), Reach::Hand).unwrap()), [1; 40]);

        cache.get(&object(4, 90), Reach::Servers).unwrap();
        assert_eq!((cache.usage().0, on_disk(&folder.0)), (90, 90));
        let mut read = [0; 40];
        held.file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, [1; 40]);
        assert!(held.is_whole(), "that its name went is no damage");
    }

    #[test]
    fn what_is_on_its_way_counts_and_others_wait_for_room() {
        let folder = Folder::new("room");
        let cache = folder.open(100);
        thread::scope(|scope| {
            for first in 1..=8 {
                let cache = &cache;
                scope.spawn(move || {
                    let held = cache.get(&object(first, 60), Reach::Servers).unwrap();
                    let mut read = [0; 60];
                    held.file.read_exact_at(&mut read, 0).unwrap();
                    assert_eq!(read, [first; 60]);
                    assert!(cache.usage().0 <= 100);
                });
            }
        });
        assert_eq!(on_disk(&folder.0), 60);
        let Err(Miss::Failed(why)) = cache.get(&object(9, 101), Reach::Servers) else { panic!("it has no room") };
        assert!(why.contains("quota_mib"), "{why}");
    }

    #[test]
    fn a_failure_leaves_nothing_and_is_not_repeated_at_once() {
        let folder = Folder::new("failure");
        let cache = folder.open(100);
        *cache.source.broken.lock().unwrap() = Some("no server".into());
        for _ in 0..3 {
            assert!(matches!(cache.get(&object(1, 5), Reach::Servers), Err(Miss::Failed(why)) if &*why == "no server"));
        }
        assert_eq!(cache.source.fetched.load(Ordering::Relaxed), 1);
        assert_eq!((cache.usage().0, on_disk(&folder.0)), (0, 0));
        assert_eq!(fs::read_dir(folder.0.join("unfinished")).unwrap().count(), 0);
    }

    #[test]
    fn the_folder_survives_a_restart_and_the_quota_may_be_less_then() {
        let folder = Folder::new("restart");
        let cache = folder.open(100);
        for first in 1..=3 {
            cache.get(&object(first, 30), Reach::Servers).unwrap();
        }
        drop(cache);
        fs::write(folder.0.join("unfinished/half"), "half").unwrap();
        let cache = folder.open(60);
        assert_eq!(on_disk(&folder.0), 60);
        assert_eq!(fs::read_dir(folder.0.join("unfinished")).unwrap().count(), 0);
        for first in 1..=3 {
            cache.get(&object(first, 30), Reach::Servers).unwrap();
        }
        assert!(cache.source.fetched.load(Ordering::Relaxed) <= 3);
    }

    #[test]
    fn a_file_that_was_altered_is_fetched_again() {
        for restart in [false, true] {
            for altered in [&[9_u8; 5][..], &[1; 4], &[]] {
                let folder = Folder::new(&format!("altered-{restart}-{}", altered.len()));
                let mut cache = folder.open(100);
                let path = cache.get(&object(1, 5), Reach::Servers).unwrap().path.clone();
                thread::sleep(Duration::from_millis(20)); // a file's times have the kernel's ticks
                fs::write(&path, altered).unwrap();
                if restart {
                    drop(cache);
                    cache = folder.open(100);
                }
                assert!(matches!(cache.get(&object(1, 5), Reach::Hand), Err(Miss::Cold)));
                assert_eq!(content(&cache.get(&object(1, 5), Reach::Servers).unwrap()), [1; 5]);
                assert_eq!((cache.usage().0, on_disk(&folder.0)), (5, 5));
            }
        }
    }

    #[test]
    fn damage_is_noticed_while_a_file_is_held() {
        let folder = Folder::new("noticed");
        let cache = folder.open(100);
        let held = cache.get(&object(1, 5), Reach::Servers).unwrap();
        thread::sleep(Duration::from_millis(20));
        fs::write(&held.path, [9; 5]).unwrap();
        assert!(!held.is_whole());
        assert_eq!(content(&cache.get(&object(1, 5), Reach::Servers).unwrap()), [1; 5]);
    }

    #[test]
    fn a_file_that_was_removed_is_fetched_again() {
        let folder = Folder::new("removed");
        let cache = folder.open(100);
        let path = cache.get(&object(1, 5), Reach::Servers).unwrap().path.clone();
        fs::remove_file(path).unwrap();
        assert_eq!(content(&cache.get(&object(1, 5), Reach::Servers).unwrap()), [1; 5]);
    }

    #[test]
    fn two_clients_do_not_share_a_folder() {
        let folder = Folder::new("lock");
        let _first = folder.open(100);
        let problem = Cache::open(&folder.0, 100, Counting::default()).err().unwrap();
        assert!(problem.why.contains("another swfs"), "{problem}");
    }
}
