//! The configuration: one JSON object with exactly the fields of `Config`. Who writes it decides everything: there
//! are no defaults here, and a field that is not known is refused.

use crate::problem::Problem;
use serde::Deserialize;
use std::{fs, path::Path, path::PathBuf};

/// The least quota: the biggest chunks that publishers make must fit, beside a catalog.
const LEAST_QUOTA_MIB: u64 = 32;
/// How a proxy is called that is none.
pub const DIRECT: &str = "DIRECT";

/// What to mount, and how. It is mounted for all users, read-only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Fully qualified name, such as `software.example.org`.
    pub repository: String,
    /// Base URLs (`http://host/cvmfs`) below which the repository lies by its name; the first that works is used.
    pub servers: Vec<String>,
    /// Forward proxies (`http://host:3128`) or `DIRECT`; the first that works is used.
    pub proxies: Vec<String>,
    /// PEM files of the master keys; one of them must have signed the whitelist.
    pub public_keys: Vec<PathBuf>,
    /// A folder of this repository alone.
    pub cache: PathBuf,
    /// How much the cache may hold.
    pub quota_mib: u64,
    /// A new revision is visible at most this long after it was published.
    pub poll_seconds: u64,
    /// How long a server or proxy may be silent.
    pub timeout_seconds: u64,
}

impl Config {
    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Self, Problem> {
        let problem = |why: String| {
            Problem::new("the configuration cannot be used", file.display(), why, "correct the file and start again")
        };
        let text = fs::read_to_string(file).map_err(|error| problem(error.to_string()))?;
        let config: Self = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
        match config.fault() {
            Some(fault) => Err(problem(fault)),
            None => Ok(config),
        }
    }

    /// The first thing that is wrong with the values.
    fn fault(&self) -> Option<String> {
        let named = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        if self.repository.is_empty() || self.repository.starts_with('.') || !self.repository.chars().all(named) {
            return Some(format!("repository: {:?} is no name such as software.example.org", self.repository));
        }
        for (name, empty) in [
            ("servers", self.servers.is_empty()),
            ("proxies", self.proxies.is_empty()),
            ("public_keys", self.public_keys.is_empty()),
        ] {
            if empty {
                return Some(format!("{name}: it needs at least one"));
            }
        }
        let hosts = self.servers.iter().chain(self.proxies.iter().filter(|proxy| *proxy != DIRECT));
        if let Some(other) = hosts.into_iter().find(|url| !url.starts_with("http://")) {
            return Some(format!("{other:?}: only http:// works; what is served is signed, and proxies can keep it"));
        }
        if !self.cache.is_absolute() {
            return Some(format!("cache: {} is not an absolute path", self.cache.display()));
        }
        [
            ("quota_mib", self.quota_mib, LEAST_QUOTA_MIB),
            ("poll_seconds", self.poll_seconds, 2),
            ("timeout_seconds", self.timeout_seconds, 1),
        ]
        .iter()
        .find(|(_, value, least)| value < least)
        .map(|(name, value, least)| format!("{name}: {value} is less than {least}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({
            "repository": "software.example.org", "servers": ["http://one/cvmfs"], "proxies": ["DIRECT"],
            "public_keys": ["/etc/key.pub"], "cache": "/var/cache/software", "quota_mib": 32, "poll_seconds": 60,
            "timeout_seconds": 5,
        })
    }

    fn read(text: &str) -> Result<Config, Problem> {
        let file = std::env::temp_dir().join(format!("swfs-config-{}-{:p}.json", std::process::id(), &text));
        fs::write(&file, text).unwrap();
        let config = Config::read(&file);
        fs::remove_file(&file).unwrap();
        config
    }

    #[test]
    fn a_whole_configuration_is_read() {
        assert_eq!(read(&good().to_string()).unwrap().servers, ["http://one/cvmfs"]);
    }

    #[test]
    fn each_fault_is_refused_by_its_name() {
        for (field, value, said) in [
            ("repository", json!("../etc"), "repository"),
            ("servers", json!([]), "servers"),
            ("servers", json!(["https://one/cvmfs"]), "only http://"),
            ("proxies", json!(["squid:3128"]), "only http://"),
            ("public_keys", json!([]), "public_keys"),
            ("cache", json!("cache"), "absolute"),
            ("quota_mib", json!(31), "less than 32"),
            ("poll_seconds", json!(0), "poll_seconds"),
            ("timeout_seconds", json!(-1), "invalid value"),
            ("quota_mb", json!(100), "unknown field"),
        ] {
            let mut config = good();
            config[field] = value;
            let problem = read(&config.to_string()).unwrap_err();
            assert!(problem.why.contains(said), "{field}: {problem}");
        }
    }

    #[test]
    fn a_missing_field_is_refused_by_its_name() {
        let mut config = good();
        config.as_object_mut().unwrap().remove("cache");
        assert!(read(&config.to_string()).unwrap_err().why.contains("missing field `cache`"));
    }
}
