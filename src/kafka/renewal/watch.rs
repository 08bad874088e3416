//! Looks whether the files that a client was made of have changed, and whether a client can be made of what they hold now.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::{
    config::settings::KafkaSettings,
    kafka::settings::{check_clients, check_secrets, without_side},
};

/// Time between two looks. The files are small, and those of Kubernetes change once a minute at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Settings of librdkafka that name a file, or a folder of files, which is read when a client is made.
const NAME_FILES: [&str; 5] =
    ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.crl.location"];

/// SHA-256 of all files.
type Fingerprint = [u8; 32];

/// The files of one client.
pub(in crate::kafka) struct Watch {
    settings: KafkaSettings,
    files: Vec<PathBuf>,
    /// What the client was made of.
    taken: Fingerprint,
    /// What was there at the last look.
    seen: Fingerprint,
    /// What no client can be made of, as was told.
    refused: Option<Fingerprint>,
    looked: Instant,
}

/// What a look gives.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Look {
    /// Nothing new, or nothing whole yet.
    Same,
    /// The files hold something else, of which clients can be made.
    New,
    /// The files hold something else, of which no client can be made, for this reason. Told once.
    Unfit(String),
}

impl Watch {
    /// To be made before the client, so that nothing that changes meanwhile is missed.
    pub(in crate::kafka) fn new(settings: &KafkaSettings) -> Self {
        let named = settings.properties.iter().filter(|(key, _)| NAME_FILES.contains(&without_side(key)));
        let files: Vec<PathBuf> =
            named.map(|(_, file)| file.into()).chain(settings.secrets.values().cloned()).collect();
        let taken = fingerprint(&files);
        Self { settings: settings.clone(), files, taken, seen: taken, refused: None, looked: Instant::now() }
    }

    /// Looks, if it is time to.
    pub(in crate::kafka) fn look(&mut self) -> Look {
        if self.files.is_empty() || self.looked.elapsed() < LOOK_EVERY {
            return Look::Same;
        }
        self.looked = Instant::now();
        self.look_now()
    }

    fn look_now(&mut self) -> Look {
        let now = fingerprint(&self.files);
        let settled = std::mem::replace(&mut self.seen, now) == now;
        // Files that are written one after the other belong together only when the last one was.
        if !settled || now == self.taken || self.refused == Some(now) {
            return Look::Same;
        }
        let mut problems = check_secrets(&self.settings);
        if problems.is_empty() {
            problems = check_clients(&self.settings);
        }
        if problems.is_empty() {
            self.taken = now;
            return Look::New;
        }
        self.refused = Some(now);
        let told: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.key, problem.problem)).collect();
        Look::Unfit(told.join("; "))
    }
}

/// Of names and contents in their order. A file that is not there counts as such.
fn fingerprint(files: &[PathBuf]) -> Fingerprint {
    let mut hash = Sha256::new();
    for file in files {
        add(&mut hash, file).unwrap_or_else(|error| hash.update(format!("{:?}", error.kind())));
        hash.update([0]);
    }
    hash.finalize().into()
}

fn add(hash: &mut Sha256, file: &Path) -> io::Result<()> {
    if !file.is_dir() {
        hash.update(fs::read(file)?);
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(file)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    for entry in entries.iter().filter(|entry| entry.is_file()) {
        hash.update(entry.as_os_str().as_encoded_bytes());
        hash.update(fs::read(entry)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    /// Settings with a password in a file of this folder.
    fn settings(folder: &Path) -> KafkaSettings {
        fs::write(folder.join("password"), "old").unwrap();
        let set = [
            format!("kafka.secrets.sasl.password={}", folder.join("password").display()),
            "kafka.properties.security.protocol=SASL_PLAINTEXT".to_owned(),
            "kafka.properties.sasl.mechanism=PLAIN".to_owned(),
            "kafka.properties.sasl.username=me".to_owned(),
        ];
        Settings::load(&Sources { set: set.to_vec(), ..Sources::default() }).unwrap().settings.kafka
    }

    #[test]
    fn what_changed_is_taken_when_it_stands_still_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&settings(folder.path()));
        assert_eq!(watch.look_now(), Look::Same);
        fs::write(folder.path().join("password"), "new").unwrap();
        assert_eq!(watch.look_now(), Look::Same, "another file may follow");
        fs::write(folder.path().join("password"), "newer").unwrap();
        assert_eq!(watch.look_now(), Look::Same);
        assert_eq!(watch.look_now(), Look::New);
        assert_eq!(watch.look_now(), Look::Same);
    }

    #[test]
    fn what_no_client_can_be_made_of_is_told_once_and_what_comes_after_it_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&settings(folder.path()));
        fs::write(folder.path().join("password"), "\n").unwrap();
        watch.look_now();
        let Look::Unfit(why) = watch.look_now() else { panic!("an empty password was taken") };
        assert!(why.contains("kafka.secrets.sasl.password: the file that it names is empty"), "{why}");
        assert_eq!(watch.look_now(), Look::Same);
        fs::remove_file(folder.path().join("password")).unwrap();
        watch.look_now();
        assert!(matches!(watch.look_now(), Look::Unfit(why) if why.contains("can't be read")));
        fs::write(folder.path().join("password"), "new").unwrap();
        watch.look_now();
        assert_eq!(watch.look_now(), Look::New);
    }

    #[test]
    fn files_are_looked_at_every_other_second_and_never_where_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&settings(folder.path()));
        fs::write(folder.path().join("password"), "new").unwrap();
        assert_eq!((watch.look(), watch.look(), watch.look()), (Look::Same, Look::Same, Look::Same));
        let plain = Settings::load(&Sources::default()).unwrap().settings.kafka;
        assert!(Watch::new(&plain).files.is_empty());
    }

    #[test]
    fn a_folder_of_authorities_counts_by_what_its_files_hold() {
        let folder = tempfile::tempdir().unwrap();
        let of = || fingerprint(&[folder.path().to_path_buf()]);
        let empty = of();
        fs::write(folder.path().join("one"), "a").unwrap();
        let one = of();
        fs::write(folder.path().join("one"), "b").unwrap();
        assert!(empty != one && one != of());
        assert_ne!(fingerprint(&["/nowhere".into()]), empty);
    }
}
