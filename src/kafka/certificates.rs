//! Until when the certificates are valid that are shown to brokers, and those that brokers are checked against.

use std::{fs, path::Path};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    pkcs12::Pkcs12,
    x509::X509,
};

use super::settings::without_side;
use crate::{config::settings::KafkaSettings, telemetry::Certificate};

/// Until when each certificate of `kafka.properties` and `kafka.secrets` is valid, epoch seconds, as far as it can be read: of what
/// is shown to brokers the end of the first in its chain that ends, of the authorities that of the last one, because after it
/// no broker is trusted. An authority of the system is not looked at.
pub fn expiries(settings: &KafkaSettings) -> Vec<(Certificate, i64)> {
    let client = shown(settings).iter().filter_map(|chain| chain.iter().filter_map(end).min()).min();
    let authority = trusted(settings).iter().filter_map(|bundle| bundle.iter().filter_map(end).max()).min();
    let found = [(Certificate::Client, client), (Certificate::Authority, authority)];
    found.into_iter().filter_map(|(certificate, end)| Some((certificate, end?))).collect()
}

/// Chains of certificates that are shown: one, or one for each client.
fn shown(settings: &KafkaSettings) -> Vec<Vec<X509>> {
    let stores = properties(settings, "ssl.keystore.location").into_iter().filter_map(|(key, file)| {
        let side = key.strip_suffix("ssl.keystore.location")?;
        let password = text_of(settings, &format!("{side}ssl.keystore.password")).unwrap_or_default();
        let store = Pkcs12::from_der(&fs::read(file).ok()?).and_then(|store| store.parse2(&password)).ok()?;
        Some(store.cert.into_iter().chain(store.ca.into_iter().flatten()).collect())
    });
    pem(settings, "ssl.certificate").into_iter().chain(stores).collect()
}

/// Bundles of authorities: one, or one for each client.
fn trusted(settings: &KafkaSettings) -> Vec<Vec<X509>> {
    pem(settings, "ssl.ca")
}

/// The certificates of `NAME.location`, which is a file or a folder of files, and of `NAME.pem`.
fn pem(settings: &KafkaSettings, name: &str) -> Vec<Vec<X509>> {
    let [located, written] = ["location", "pem"].map(|end| properties(settings, &format!("{name}.{end}")));
    let located = located.into_iter().map(|(_, place)| in_place(Path::new(place)));
    let written = written.into_iter().map(|(_, text)| in_text(text.as_bytes()));
    let secret = settings.secrets.iter().filter(|(key, _)| without_side(key) == format!("{name}.pem"));
    let secret = secret.map(|(_, file)| in_place(file));
    located.chain(written).chain(secret).filter(|found| !found.is_empty()).collect()
}

/// Keys of this name, whichever client they are for, and their values.
fn properties<'s>(settings: &'s KafkaSettings, name: &str) -> Vec<(&'s str, &'s str)> {
    let pairs = settings.properties.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    pairs.filter(|(key, _)| without_side(key) == name).collect()
}

/// A value that stands in the configuration or in a file.
fn text_of(settings: &KafkaSettings, key: &str) -> Option<String> {
    let file = || Some(fs::read_to_string(settings.secrets.get(key)?).ok()?.trim_end_matches(['\r', '\n']).to_owned());
    settings.properties.get(key).cloned().or_else(file)
}

fn in_place(place: &Path) -> Vec<X509> {
    let read = |file: &Path| fs::read(file).map(|text| in_text(&text)).unwrap_or_default();
    match fs::read_dir(place) {
        Ok(entries) => entries.flatten().flat_map(|entry| read(&entry.path())).collect(),
        Err(_) => read(place),
    }
}

fn in_text(text: &[u8]) -> Vec<X509> {
    X509::stack_from_pem(text).unwrap_or_default()
}

/// When the certificate ends, epoch seconds.
fn end(certificate: &X509) -> Option<i64> {
    let since = |end: &Asn1TimeRef| Asn1Time::from_unix(0)?.diff(end);
    let since = since(certificate.not_after()).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use openssl::{
        bn::BigNum,
        hash::MessageDigest,
        pkey::{PKey, Private},
        rsa::Rsa,
        x509::X509NameBuilder,
    };

    use super::*;
    use crate::config::{Settings, settings::Preset};

    const END: i64 = 1_900_000_000;

    /// A certificate that signs itself and ends then.
    fn certificate(end: i64) -> (X509, PKey<Private>) {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "test").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(end).unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        (builder.build(), key)
    }

    fn pem_of(ends: &[i64]) -> Vec<u8> {
        ends.iter().flat_map(|end| certificate(*end).0.to_pem().unwrap()).collect()
    }

    fn settings(properties: &[(&str, &Path)]) -> KafkaSettings {
        let mut settings = Settings::defaults(Preset::Timeseries).kafka;
        settings.properties =
            properties.iter().map(|(key, value)| ((*key).to_owned(), value.display().to_string())).collect();
        settings
    }

    #[test]
    fn of_a_chain_the_first_end_counts_and_of_authorities_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, bundle) = (folder.path().join("chain"), folder.path().join("bundle"));
        fs::write(&chain, pem_of(&[END, END + 5, END - 3])).unwrap();
        fs::write(&bundle, pem_of(&[END + 7, 1, END + 9])).unwrap();
        let both = settings(&[("ssl.certificate.location", &chain), ("consumer.ssl.ca.location", &bundle)]);
        assert_eq!(expiries(&both), [(Certificate::Client, END - 3), (Certificate::Authority, END + 9)]);
        let folder = tempfile::tempdir().unwrap();
        fs::rename(&bundle, folder.path().join("one.pem")).unwrap();
        fs::write(folder.path().join("none"), "no certificate").unwrap();
        let authorities = settings(&[("ssl.ca.location", folder.path())]);
        assert_eq!(expiries(&authorities), [(Certificate::Authority, END + 9)]);
    }

    #[test]
    fn a_key_store_is_read_with_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = certificate(END);
        let store = Pkcs12::builder().cert(&certificate).pkey(&key).build2("hunter2").unwrap();
        let (place, password) = (folder.path().join("store"), folder.path().join("password"));
        fs::write(&place, store.to_der().unwrap()).unwrap();
        fs::write(&password, "hunter2\n").unwrap();
        let mut stored = settings(&[("ssl.keystore.location", &place)]);
        assert_eq!(expiries(&stored), [], "without its password");
        stored.secrets = BTreeMap::from([("ssl.keystore.password".to_owned(), password)]);
        assert_eq!(expiries(&stored), [(Certificate::Client, END)]);
    }

    #[test]
    fn what_is_not_there_or_no_certificate_is_not_told() {
        assert_eq!(expiries(&settings(&[])), []);
        assert_eq!(expiries(&settings(&[("ssl.certificate.location", Path::new("/nowhere"))])), []);
    }
}
