//! The mount: answers the kernel out of a repository, read-only, for all users.
//!
//! Whatever is at hand is answered at once; whatever must be fetched is answered by a thread of its own, so that nobody
//! waits for another's download. The inode of a file or link stands for one content: a new revision gives a changed
//! file a new inode, so that attributes and pages in the kernel are never those of another content, and what is open
//! goes on as it was. Folders keep their inodes and show the revision that is mounted.

use crate::{
    cache::{Held, Miss, Reach},
    object::Hash,
    repository::{Node, Repository, What},
};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyXattr, Request,
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

/// How long the kernel may believe that a name does not exist.
const ABSENT: Duration = Duration::from_secs(1);
/// An inode's content never changes, so the kernel may keep its attributes. A folder's may.
const FOREVER: Duration = Duration::from_secs(3600);
const READ_AHEAD: u32 = 1 << 20;
const BLOCK: u32 = 4096;
const XATTRS: [&str; 6] = ["user.expires", "user.fqrn", "user.host", "user.nioerr", "user.revision", "user.root_hash"];

pub struct Mount(Arc<Inner>);

struct Inner {
    repository: Arc<Repository>,
    /// How long the kernel may believe a name.
    ttl: Duration,
    inodes: RwLock<HashMap<u64, Inode>>,
    files: RwLock<HashMap<u64, Arc<OpenFile>>>,
    folders: RwLock<HashMap<u64, Arc<Vec<Name>>>>,
    next_handle: AtomicU64,
    errors: AtomicU64,
    /// The last error that was told: one that goes on is told once.
    told: Mutex<String>,
}

/// An inode that the kernel knows. `lookups` is how often it was told; when it forgot them all, the inode goes.
#[derive(Clone)]
struct Inode {
    path: Arc<[u8]>,
    node: Arc<Node>,
    lookups: u64,
}

/// An open file holds the piece that was last read, so that it stays in the cache.
struct OpenFile {
    inode: Inode,
    last: Mutex<Option<(usize, Arc<Held>)>>,
}

/// A line of a folder's listing.
struct Name {
    ino: u64,
    kind: FileType,
    name: Vec<u8>,
}

impl Mount {
    /// `ttl` is how long the kernel may go on showing an old revision.
    pub fn new(repository: Arc<Repository>, ttl: Duration) -> Result<Self, Miss> {
        let root = Inode { path: [].into(), node: repository.node(b"", Reach::Servers)?.into(), lookups: 1 };
        Ok(Self(Arc::new(Inner {
            repository,
            ttl,
            inodes: RwLock::new(HashMap::from([(INodeNo::ROOT.0, root)])),
            files: RwLock::default(),
            folders: RwLock::default(),
            next_handle: AtomicU64::new(1),
            errors: AtomicU64::new(0),
            told: Mutex::default(),
        })))
    }

    /// Does `work` with what is at hand, else in a thread of its own, and replies.
    fn answer<R: Send + 'static, T>(
        &self,
        reply: R,
        work: impl Fn(&Inner, Reach) -> Result<T, Miss> + Send + 'static,
        give: impl FnOnce(R, Result<T, Errno>) + Send + 'static,
    ) {
        match work(&self.0, Reach::Hand) {
            Err(Miss::Cold) => {
                let inner = self.0.clone();
                let slowly = move || give(reply, work(&inner, Reach::Servers).map_err(|miss| inner.told(miss)));
                // Where no thread can be had, the reply is dropped, which answers EIO.
                drop(thread::Builder::new().name("swfs-fetch".into()).spawn(slowly));
            }
            done => give(reply, done.map_err(|miss| self.0.told(miss))),
        }
    }
}

impl Inner {
    fn inode(&self, ino: u64) -> Result<Inode, Miss> {
        self.inodes.read().unwrap().get(&ino).cloned().ok_or(Miss::Absent)
    }

    /// What an inode is now. Only folders change.
    fn node(&self, ino: u64, reach: Reach) -> Result<Arc<Node>, Miss> {
        let inode = self.inode(ino)?;
        if inode.node.what != What::Directory {
            return Ok(inode.node);
        }
        let now = self.repository.node(&inode.path, reach)?;
        if now.what == What::Directory { Ok(now.into()) } else { Err(Miss::Absent) }
    }

    fn lookup(&self, parent: u64, name: &[u8], reach: Reach) -> Result<FileAttr, Miss> {
        let path: Arc<[u8]> = [&*self.inode(parent)?.path, b"/", name].concat().into();
        let node = Arc::new(self.repository.node(&path, reach)?);
        let ino = number(&path, &node);
        let attributes = attributes(ino, &node);
        let mut inodes = self.inodes.write().unwrap();
        inodes.entry(ino).or_insert(Inode { path, node, lookups: 0 }).lookups += 1;
        Ok(attributes)
    }

    fn forget(&self, ino: u64, lookups: u64) {
        let mut inodes = self.inodes.write().unwrap();
        if let Some(inode) = inodes.get_mut(&ino).filter(|_| ino != INodeNo::ROOT.0) {
            inode.lookups = inode.lookups.saturating_sub(lookups);
            if inode.lookups == 0 {
                inodes.remove(&ino);
            }
        }
    }

    fn list(&self, ino: u64, reach: Reach) -> Result<Vec<Name>, Miss> {
        let path = self.inode(ino)?.path;
        let dot = |name: &[u8]| Name { ino, kind: FileType::Directory, name: name.into() };
        let mut names = vec![dot(b"."), dot(b"..")];
        for (name, node) in self.repository.list(&path, reach)? {
            names.push(Name { ino: number(&[&*path, b"/", &name].concat(), &node), kind: kind(&node), name });
        }
        Ok(names)
    }

    fn open(&self, ino: u64) -> Result<OpenFile, Miss> {
        let inode = self.inode(ino)?;
        if let What::Unreadable(why) = inode.node.what {
            return Err(Miss::failed(format!("{}: {why}", String::from_utf8_lossy(&inode.path))));
        }
        Ok(OpenFile { inode, last: Mutex::default() })
    }

    fn read(&self, file: &OpenFile, offset: u64, size: u32, reach: Reach) -> Result<Vec<u8>, Miss> {
        let What::File(pieces) = &file.inode.node.what else { return Err(Miss::Absent) };
        let whole = file.inode.node.size;
        let end = (offset + u64::from(size)).min(whole).max(offset);
        let mut data = vec![0; (end - offset) as usize];
        let mut at = offset;
        while at < end {
            let number = pieces.partition_point(|piece| piece.offset <= at) - 1;
            let piece = &pieces[number];
            let last = file.last.lock().unwrap().clone();
            let held = match last {
                Some((same, held)) if same == number && held.is_whole() => held,
                _ => self.repository.cache().get(&piece.object, reach)?,
            };
            let until = end.min(piece.offset + piece.object.size);
            let part = &mut data[(at - offset) as usize..(until - offset) as usize];
            held.file
                .read_exact_at(part, at - piece.offset)
                .map_err(|error| Miss::failed(format!("{}: the cache cannot be read: {error}", held.path.display())))?;
            *file.last.lock().unwrap() = Some((number, held));
            at = until;
        }
        Ok(data)
    }

    fn xattr(&self, ino: u64, name: &OsStr) -> Option<String> {
        let revision = self.repository.revision();
        if ino != INodeNo::ROOT.0 {
            return None;
        }
        Some(match name.to_str()? {
            "user.expires" => revision.expires.to_string(),
            "user.fqrn" => self.repository.name.clone(),
            "user.host" => self.repository.cache().source().server().into(),
            "user.nioerr" => self.errors.load(Ordering::Relaxed).to_string(),
            "user.revision" => revision.number.to_string(),
            "user.root_hash" => revision.root.hash.to_string(),
            _ => return None,
        })
    }

    /// What the kernel is told of a miss; why there is an I/O error goes to the log.
    fn told(&self, miss: Miss) -> Errno {
        let Miss::Failed(why) = miss else { return Errno::ENOENT };
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap();
        if *told != *why {
            eprintln!("input/output error: {why}");
            *told = why.to_string();
        }
        Errno::EIO
    }

    fn handle<T>(&self, table: &RwLock<HashMap<u64, Arc<T>>>, opened: T) -> FileHandle {
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        table.write().unwrap().insert(handle, Arc::new(opened));
        FileHandle(handle)
    }
}

impl Filesystem for Mount {
    fn init(&mut self, _: &Request, kernel: &mut KernelConfig) -> io::Result<()> {
        // Older kernels go without.
        for wish in [InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_CACHE_SYMLINKS] {
            let _ = kernel.add_capabilities(wish);
        }
        if let Err(most) = kernel.set_max_readahead(READ_AHEAD) {
            let _ = kernel.set_max_readahead(most);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (name, ttl) = (name.as_bytes().to_vec(), self.0.ttl);
        self.answer(
            reply,
            move |inner, reach| inner.lookup(parent.0, &name, reach),
            move |reply, found| match found {
                Ok(attributes) => reply.entry_with_ttls(&keep(attributes.kind, ttl), &ttl, &attributes, Generation(0)),
                // An entry without an inode is a name that does not exist, and may be kept.
                Err(Errno::ENOENT) => reply.entry(&ABSENT.min(ttl), &nothing(), Generation(0)),
                Err(error) => reply.error(error),
            },
        );
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.0.forget(ino.0, lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let ttl = self.0.ttl;
        self.answer(
            reply,
            move |inner, reach| Ok(attributes(ino.0, &*inner.node(ino.0, reach)?)),
            move |reply, found| match found {
                Ok(attributes) => reply.attr(&keep(attributes.kind, ttl), &attributes),
                Err(error) => reply.error(error),
            },
        );
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.0.inode(ino.0).as_ref().map(|inode| &inode.node.what) {
            Ok(What::Symlink(target)) => reply.data(target),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.0.open(ino.0) {
            Ok(file) => reply
                .opened(self.0.handle(&self.0.files, file), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH),
            Err(miss) => reply.error(self.0.told(miss)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.0.files.read().unwrap().get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        self.answer(
            reply,
            move |inner, reach| inner.read(&file, offset, size, reach),
            |reply, read| match read {
                Ok(data) => reply.data(&data),
                Err(error) => reply.error(error),
            },
        );
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.files.write().unwrap().remove(&handle.0);
        reply.ok();
    }

    /// Lists the folder once, so that its reader sees one revision.
    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let inner = self.0.clone();
        self.answer(
            reply,
            move |inner, reach| inner.list(ino.0, reach),
            move |reply, listed| match listed {
                Ok(names) => reply.opened(inner.handle(&inner.folders, names), FopenFlags::empty()),
                Err(error) => reply.error(error),
            },
        );
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(names) = self.0.folders.read().unwrap().get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        for (at, Name { ino, kind, name }) in names.iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(*ino), at as u64 + 1, *kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.0.folders.write().unwrap().remove(&handle.0);
        reply.ok();
    }

    /// The cache's size and use, as `df` shows them.
    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (used, quota) = self.0.repository.cache().usage();
        let (all, free) = (quota / u64::from(BLOCK), quota.saturating_sub(used) / u64::from(BLOCK));
        reply.statfs(all, free, free, 0, 0, BLOCK, 255, BLOCK);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.0.xattr(ino.0, name) {
            Some(value) => give(reply, size, value.as_bytes()),
            None => reply.error(Errno::NO_XATTR),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = if ino == INodeNo::ROOT { XATTRS.map(|name| format!("{name}\0")).concat() } else { String::new() };
        give(reply, size, names.as_bytes());
    }
}

/// The protocol of extended attributes: first the size is asked, then the value.
fn give(reply: ReplyXattr, size: u32, value: &[u8]) {
    match size as usize {
        0 => reply.size(value.len() as u32),
        room if room < value.len() => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

/// The inode of a path: of a folder always the same, else another one for each content.
fn number(path: &[u8], node: &Node) -> u64 {
    let mut identity = path.to_vec();
    if node.what != What::Directory {
        identity.extend(format!("\0{node:?}").bytes());
    }
    let digest = Hash::of(&identity).0;
    u64::from_le_bytes(digest[..8].try_into().unwrap()).max(INodeNo::ROOT.0 + 1)
}

fn kind(node: &Node) -> FileType {
    match node.what {
        What::Directory => FileType::Directory,
        What::Symlink(_) => FileType::Symlink,
        What::File(_) | What::Unreadable(_) => FileType::RegularFile,
    }
}

/// How long the kernel may keep attributes.
fn keep(kind: FileType, ttl: Duration) -> Duration {
    if kind == FileType::Directory { ttl } else { FOREVER }
}

/// All belongs to root, whoever published it: user numbers mean nothing on another computer.
fn attributes(ino: u64, node: &Node) -> FileAttr {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(node.mtime.max(0) as u64);
    FileAttr {
        ino: INodeNo(ino),
        size: node.size,
        blocks: node.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(node),
        perm: node.mode,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// The attributes of what does not exist.
fn nothing() -> FileAttr {
    attributes(0, &Node { what: What::Directory, mode: 0, mtime: 0, size: 0 })
}
