//! swfs: a read-only client for software repositories in the CVMFS format.
//!
//!     swfs mount CONFIG.json MOUNTPOINT   serves until SIGTERM or SIGINT, in the foreground
//!     swfs check CONFIG.json              says what would be mounted
//!     swfs --version
//!
//! Ends with 0, with 1 after an error, with 2 when it was called wrongly. Why something went wrong stands on standard
//! error. A whitelist that expires while it is mounted stops new revisions, not the mount. When it was killed, its mount
//! point answers ENOTCONN until the next start, which cleans it (or `umount --lazy`).

mod cache;
mod config;
mod fetch;
mod mount;
mod object;
mod problem;
mod repository;
mod systemd;
mod trust;

use config::Config;
use fetch::Fetcher;
use fuser::{MountOption, Session, SessionACL};
use mount::Mount;
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::signal::{SigSet, Signal},
};
use problem::Problem;
use repository::{News, Repository};
use std::{
    env, fs, io,
    path::{self, Path, PathBuf},
    process,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

/// Threads that answer what is at hand.
const THREADS: usize = 4;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["mount", config, mountpoint] => mount(Path::new(config), Path::new(mountpoint)),
        ["check", config] => check(Path::new(config)),
        ["--version"] => {
            println!("swfs {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => {
            eprintln!("usage: swfs mount CONFIG.json MOUNTPOINT\n       swfs check CONFIG.json\n       swfs --version");
            process::exit(2);
        }
    };
    if let Err(problem) = done {
        eprintln!("{problem}");
        systemd::notify(&format!("STATUS={}: {}", problem.what, problem.why));
        process::exit(1);
    }
}

/// Checks the whole chain of trust, and prints what it says.
fn check(file: &Path) -> Result<(), Problem> {
    let config = Config::read(file)?;
    let fetcher = Fetcher::new(&config)?;
    let masters = trust::master_keys(&config.public_keys)?;
    let revision = repository::claim(&fetcher)
        .and_then(|claim| trust::verify(&claim, &config.repository, &masters, SystemTime::now()))
        .map_err(|why| {
            let cure = "compare repository, servers and public_keys with what the publisher says";
            Problem::new("the repository cannot be believed", &config.repository, why, cure)
        })?;
    println!("fqrn:         {}\nrevision:     {}", config.repository, revision.number);
    println!("root catalog: {}\nexpires:      {}", revision.root.hash, revision.expires);
    Ok(())
}

/// Serves until a signal comes, or somebody unmounts.
fn mount(file: &Path, mountpoint: &Path) -> Result<(), Problem> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().expect("signals can be blocked"); // before there are threads, which inherit it
    let config = Config::read(file)?;
    let repository = Arc::new(Repository::open(&config)?);
    // A revision is found within one half of the time, and what the kernel believes ends within the other.
    let half = Duration::from_secs(config.poll_seconds) / 2;
    let unusable = |why: &dyn std::fmt::Display| {
        let cure = "swfs mounts as root, with /dev/fuse, on a folder that exists and where nothing is mounted";
        Problem::new("it cannot be mounted", mountpoint.display(), why, cure)
    };
    let place = located(mountpoint).map_err(|error| unusable(&error))?;
    make_free(&place).map_err(|error| unusable(&error))?;
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
        MountOption::FSName(format!("swfs:{}", config.repository)),
    ];
    options.acl = SessionACL::All;
    options.n_threads = Some(THREADS);
    options.clone_fd = true;
    let filesystem = Mount::new(repository.clone(), half).map_err(|miss| unusable(&miss))?;
    let session = Session::new(filesystem, &place, &options).map_err(|error| unusable(&error))?;

    systemd::notify(&format!("READY=1\n{}", status(&repository, None)));
    thread::spawn(move || follow(&repository, half));
    thread::spawn(move || {
        let signal = signals.wait().expect("a signal");
        systemd::notify("STOPPING=1");
        if umount2(&place, MntFlags::empty()) == Err(Errno::EBUSY) {
            eprintln!("{signal}: {} is in use; it is unmounted lazily", place.display());
            let _ = umount2(&place, MntFlags::MNT_DETACH); // nothing better can be done
        }
        // The session would go on for other mount namespaces, which have copies of the mount.
        process::exit(0);
    });
    session.run().map_err(|error| unusable(&error))
}

/// Looks for new revisions for ever. What is refused is told once, and stands in the status.
fn follow(repository: &Repository, pause: Duration) {
    let mut last = News::None;
    loop {
        thread::sleep(pause);
        let news = repository.follow();
        if news == last && news != News::Revision {
            continue;
        }
        let refused = match &news {
            News::None => None,
            News::Revision => {
                eprintln!("revision {} is mounted", repository.revision().number);
                None
            }
            News::Refused(why) => {
                eprintln!("revision {} stays mounted: {why}", repository.revision().number);
                Some(why.as_str())
            }
        };
        systemd::notify(&status(repository, refused));
        last = news;
    }
}

fn status(repository: &Repository, refused: Option<&str>) -> String {
    let revision = repository.revision();
    let note = refused.map(|why| format!("; nothing newer: {why}")).unwrap_or_default();
    format!("STATUS=revision {} from {}{note}", revision.number, repository.cache().source().server())
}

/// The mount point as the kernel names it. What a killed client left there can be named, but not looked at.
fn located(mountpoint: &Path) -> io::Result<PathBuf> {
    let absolute = path::absolute(mountpoint)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => Err(io::Error::other("it is no folder below another")),
    }
}

/// Cleans what a killed client left. Fails when there is no folder, or swfs is mounted on it.
fn make_free(place: &Path) -> io::Result<()> {
    match fs::read_dir(place) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOTCONN as i32) => {
            eprintln!("{}: what a killed client left is unmounted", place.display());
            Ok(umount2(place, MntFlags::MNT_DETACH)?)
        }
        Err(error) => Err(error),
        Ok(_) => {
            let same = |line: &str| line.starts_with("swfs:") && line.split(' ').nth(1) == place.to_str();
            let mounted = fs::read_to_string("/proc/self/mounts")?.lines().any(same);
            if mounted { Err(io::Error::other("swfs is mounted there already")) } else { Ok(()) }
        }
    }
}
