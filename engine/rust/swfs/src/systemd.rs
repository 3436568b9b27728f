//! Tells systemd how the service is (Type=notify). Without systemd nothing is told.

use std::{
    env, io,
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr, unix::net::UnixDatagram},
};

/// Sends lines such as `READY=1` or `STATUS=text`; a failure is no reason to stop.
pub fn notify(lines: &str) {
    if let Ok(place) = env::var("NOTIFY_SOCKET")
        && let Err(error) = send(&place, lines)
    {
        eprintln!("{place}: {error}");
    }
}

fn send(place: &str, lines: &str) -> io::Result<()> {
    let address = match place.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    UnixDatagram::unbound()?.send_to_addr(lines.as_bytes(), &address).map(drop)
}
