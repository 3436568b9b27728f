//! Bytes from servers: over routes (a server through a proxy) in the order of the configuration, each of which rests
//! for a while after a failure, so that a dead one costs its timeout once and not with every object.
//!
//! A call ends in bounded time. A route is asked for an object twice, the second time past the caches of proxies: what a
//! cache altered the server may have whole. When all routes rest, the answer is a failure at once; rests are short.

use crate::{
    cache::Source,
    config::{Config, DIRECT},
    object::{Hash, Object},
    problem::Problem,
};
use flate2::read::ZlibDecoder;
use reqwest::{
    Proxy, StatusCode,
    blocking::{Client, Response},
    header::CACHE_CONTROL,
    redirect::Policy,
};
use sha1::{Digest, Sha1};
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    sync::Mutex,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// A route's first rest doubles with each further failure, up to the longest.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(32);
/// A transfer that is slower for longer than the timeout has failed, in bytes per second.
const LEAST_SPEED: f64 = 1024.0;
const BLOCK: usize = 128 << 10;

/// Why the bytes of an answer could not be taken.
enum Refusal {
    /// They are not what they should be, or ended early: another route may have better ones.
    Answer(String),
    /// This computer cannot keep them.
    Here(String),
}

/// The routes to one repository.
pub struct Fetcher {
    routes: Vec<Route>,
    timeout: Duration,
    /// The route that worked last.
    current: AtomicUsize,
}

struct Route {
    server: String,
    /// The repository's own URL.
    url: String,
    name: String,
    client: Client,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    until: Option<Instant>,
    length: Duration,
}

impl Fetcher {
    pub fn new(config: &Config) -> Result<Self, Problem> {
        let timeout = Duration::from_secs(config.timeout_seconds);
        let mut routes = Vec::new();
        for server in &config.servers {
            for proxy in &config.proxies {
                let mut client = Client::builder().no_proxy().redirect(Policy::none()).referer(false);
                client = client.connect_timeout(timeout).timeout(timeout).user_agent("swfs");
                let made = if proxy == DIRECT {
                    client.build()
                } else {
                    Proxy::http(proxy).and_then(|proxy| client.proxy(proxy).build())
                };
                let server = server.trim_end_matches('/').to_string();
                routes.push(Route {
                    url: format!("{server}/{}", config.repository),
                    name: if proxy == DIRECT { server.clone() } else { format!("{server} through {proxy}") },
                    server,
                    client: made.map_err(|error| {
                        let cure = "write proxies as http://host:port or DIRECT";
                        Problem::new("a proxy cannot be used", proxy, chain(&error), cure)
                    })?,
                    rest: Mutex::default(),
                });
            }
        }
        Ok(Self { routes, timeout, current: AtomicUsize::new(0) })
    }

    /// The server that answered last, or would be asked first.
    pub fn server(&self) -> &str {
        &self.routes[self.current.load(Ordering::Relaxed)].server
    }

    /// A small file that is signed, as servers have it now. Fails when it has more than `most` bytes.
    pub fn small(&self, path: &str, most: u64) -> Result<Vec<u8>, String> {
        self.get(path, true, |answer| {
            let mut bytes = Vec::new();
            answer.take(most + 1).read_to_end(&mut bytes).map_err(|error| Refusal::Answer(chain(&error)))?;
            if bytes.len() as u64 > most {
                return Err(Refusal::Answer(format!("more than {most} bytes")));
            }
            Ok(bytes)
        })
    }

    /// Asks route after route until `take` accepts an answer.
    fn get<T>(
        &self,
        path: &str,
        fresh: bool,
        mut take: impl FnMut(&mut dyn Read) -> Result<T, Refusal>,
    ) -> Result<T, String> {
        let mut failures = Vec::new();
        let (resting, awake): (Vec<_>, Vec<_>) = self.routes.iter().enumerate().partition(|(_, route)| route.rests());
        if awake.is_empty() {
            return Err(format!("{path}: all servers failed a moment ago"));
        }
        // One that rests may be well again, when all others fail.
        for (number, route) in awake.into_iter().chain(resting) {
            for past_caches in [fresh, true] {
                let began = Instant::now();
                let why = match route.ask(path, past_caches) {
                    Ok(answer) if answer.status() == StatusCode::OK => {
                        match take(&mut Paced { answer, began, timeout: self.timeout, bytes: 0 }) {
                            Ok(taken) => {
                                route.worked();
                                self.current.store(number, Ordering::Relaxed);
                                return Ok(taken);
                            }
                            Err(Refusal::Here(why)) => return Err(why),
                            Err(Refusal::Answer(why)) => why,
                        }
                    }
                    Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {
                        route.worked();
                        failures.push(format!("{} does not have it", route.name));
                        break;
                    }
                    Ok(answer) => format!("HTTP status {}", answer.status()),
                    Err(error) => chain(&error),
                };
                let slow = began.elapsed() >= self.timeout;
                if past_caches || slow {
                    route.failed();
                    failures.push(format!("{}: {why}", route.name));
                    break;
                }
            }
        }
        Err(format!("{path}: {}", failures.join("; ")))
    }
}

impl Source for Fetcher {
    /// Hash and size are checked over the whole; what a failed try wrote is overwritten by the next.
    fn fetch(&self, object: &Object, file: &mut File) -> Result<u32, String> {
        self.get(&object.path(), false, |answer| {
            file.set_len(0).and_then(|()| file.rewind()).map_err(|error| Refusal::Here(error.to_string()))?;
            unpack(answer, object, file)
        })
    }
}

/// Writes the unpacked content of an object, which the caller must throw away unless this succeeds. Gives its CRC-32.
fn unpack(answer: &mut dyn Read, object: &Object, into: &mut dyn Write) -> Result<u32, Refusal> {
    let mut hashed = Hashed { inner: answer, digest: Sha1::new() };
    let mut crc = crc32fast::Hasher::new();
    let (mut block, mut size) = (vec![0; BLOCK], 0);
    let mut unpacked = ZlibDecoder::new(&mut hashed);
    loop {
        let count = unpacked.read(&mut block).map_err(|error| Refusal::Answer(chain(&error)))?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if size > object.size {
            return Err(Refusal::Answer(format!("it unpacks to more than {} bytes", object.size)));
        }
        crc.update(&block[..count]);
        into.write_all(&block[..count])
            .map_err(|error| Refusal::Here(format!("the cache cannot be written: {error}")))?;
    }
    io::copy(&mut hashed, &mut io::sink()).map_err(|error| Refusal::Answer(chain(&error)))?;
    if Hash(hashed.digest.finalize().into()) != object.hash {
        return Err(Refusal::Answer("its bytes do not have the hash that is its name".into()));
    }
    if size != object.size {
        return Err(Refusal::Answer(format!("it unpacks to {size} bytes instead of {}", object.size)));
    }
    Ok(crc.finalize())
}

impl Route {
    fn ask(&self, path: &str, past_caches: bool) -> reqwest::Result<Response> {
        let request = self.client.get(format!("{}/{path}", self.url));
        if past_caches { request.header(CACHE_CONTROL, "no-cache").send() } else { request.send() }
    }

    fn rests(&self) -> bool {
        self.rest.lock().unwrap().until.is_some_and(|until| Instant::now() < until)
    }

    fn worked(&self) {
        *self.rest.lock().unwrap() = Rest::default();
    }

    /// Of several failures at the same time only one counts.
    fn failed(&self) {
        let mut rest = self.rest.lock().unwrap();
        let now = Instant::now();
        if rest.until.is_none_or(|until| until <= now) {
            rest.length = (rest.length * 2).clamp(FIRST_REST, LONGEST_REST);
            rest.until = Some(now + rest.length);
        }
    }
}

/// An answer that must not be slower than the least speed.
struct Paced {
    answer: Response,
    began: Instant,
    timeout: Duration,
    bytes: u64,
}

impl Read for Paced {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.answer.read(into)?;
        self.bytes += count as u64;
        let passed = self.began.elapsed();
        if passed > self.timeout && (self.bytes as f64) < LEAST_SPEED * passed.as_secs_f64() && count > 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the transfer is too slow"));
        }
        Ok(count)
    }
}

/// Hashes what is read through it.
struct Hashed<'a> {
    inner: &'a mut dyn Read,
    digest: Sha1,
}

impl Read for Hashed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.digest.update(&into[..count]);
        Ok(count)
    }
}

/// An error with its causes; without them reqwest says that it failed and not why.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;
    use flate2::{Compression, write::ZlibEncoder};

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn taken(bytes: &[u8], object: &Object) -> Result<Vec<u8>, String> {
        let mut into = Vec::new();
        match unpack(&mut &bytes[..], object, &mut into) {
            Ok(crc) => {
                assert_eq!(crc, crc32fast::hash(&into));
                Ok(into)
            }
            Err(Refusal::Answer(why) | Refusal::Here(why)) => Err(why),
        }
    }

    #[test]
    fn only_the_bytes_that_have_the_name_are_taken() {
        let bytes = packed(b"content");
        let object = Object { hash: Hash::of(&bytes), kind: Kind::File, size: 7 };
        assert_eq!(taken(&bytes, &object).unwrap(), b"content");
        assert!(taken(&packed(b"another"), &object).unwrap_err().contains("hash"));
        assert!(taken(&[&bytes[..], b"more"].concat(), &object).unwrap_err().contains("hash"));
        assert!(taken(&bytes[..bytes.len() - 1], &object).is_err());
        assert!(taken(&bytes, &Object { size: 6, ..object }).unwrap_err().contains("more than 6"));
        assert!(taken(&bytes, &Object { size: 8, ..object }).unwrap_err().contains("instead of 8"));
    }

    #[test]
    fn a_rest_doubles_and_ends_with_success() {
        let route = Route {
            server: String::new(),
            url: String::new(),
            name: String::new(),
            client: Client::new(),
            rest: Mutex::default(),
        };
        assert!(!route.rests());
        route.failed();
        route.failed(); // at the same time: it does not count
        assert_eq!(route.rest.lock().unwrap().length, FIRST_REST);
        assert!(route.rests());
        for _ in 0..9 {
            route.rest.lock().unwrap().until = Some(Instant::now());
            route.failed();
        }
        assert_eq!(route.rest.lock().unwrap().length, LONGEST_REST);
        route.worked();
        assert!(!route.rests());
    }
}
