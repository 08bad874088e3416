//! Certificates and signed tokens, made by OpenSSL's program in a folder of the test's own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use serde_json::{Value, json};

use super::tools::leave_out;

/// Days that a certificate is valid from now on; nobody accepts one of a day ago.
pub const VALID: i32 = 2;
/// The same for one that has expired.
pub const EXPIRED: i32 = -1;

/// A folder with `NAME.crt` and `NAME.key` (PEM) of everyone.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// An empty folder; `None` where there is no OpenSSL.
    pub fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            leave_out("OPENSSL: IT IS NOT HERE, SO NO TEST MADE CERTIFICATES");
            return None;
        }
        Some(Self { folder: tempfile::tempdir().expect("a temporary folder can be made") })
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text.
    pub fn text_path(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Makes an authority that signs others.
    pub fn authority(&self, name: &str) {
        let (subject, days) = (format!("/CN={name}"), VALID.to_string());
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let newkey = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", &days, "-subj", &subject];
        self.openssl(&[&newkey[..], &["-keyout", &key, "-out", &certificate]].concat(), b"");
    }

    /// Makes a certificate for this name and this machine, signed by the authority. `NAME.pem` holds its key as well.
    pub fn certificate(&self, name: &str, authority: &str, days: i32) {
        let [key, request, certificate, pem] = ["key", "csr", "crt", "pem"].map(|end| format!("{name}.{end}"));
        let subject = format!("/CN={name}");
        let newkey = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject];
        self.openssl(&[&newkey[..], &["-keyout", &key, "-out", &request]].concat(), b"");
        fs::write(self.path("extensions"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").expect("it can be written");
        let (ca, ca_key, days) = (format!("{authority}.crt"), format!("{authority}.key"), days.to_string());
        let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-days", &days];
        self.openssl(&[&sign[..], &["-extfile", "extensions", "-out", &certificate]].concat(), b"");
        let parts = [key, certificate].map(|file| fs::read_to_string(self.path(&file)).expect("it was made"));
        fs::write(self.path(&pem), parts.concat()).expect("it can be written");
    }

    /// Makes a key for tokens, `NAME.key`, and the set of public keys that a broker checks them by, `NAME.jwks`.
    pub fn token_key(&self, name: &str) {
        let key = format!("{name}.key");
        self.openssl(&["genrsa", "-out", &key, "2048"], b"");
        let modulus = self.openssl(&["rsa", "-in", &key, "-noout", "-modulus"], b"");
        let modulus = String::from_utf8(modulus).expect("hexadecimal");
        let modulus = modulus.trim().strip_prefix("Modulus=").expect("OpenSSL says so");
        let modulus = BASE64URL_NOPAD.encode(&HEXUPPER.decode(modulus.as_bytes()).expect("hexadecimal"));
        let key = json!({"kty": "RSA", "kid": name, "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB"});
        fs::write(self.path(&format!("{name}.jwks")), json!({ "keys": [key] }).to_string()).expect("it can be written");
    }

    /// A token (RFC 7519) for this subject, signed with the key `signer` (RS256), that expires in so many seconds.
    pub fn token(&self, subject: &str, signer: &str, expires_in: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs() as i64;
        let issued = now.min(now + expires_in) - 1;
        let claims = json!({"sub": subject, "aud": "kafka", "scope": "kafka", "iat": issued, "exp": now + expires_in});
        let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let signed = format!("{}.{}", encode(&json!({"alg": "RS256", "typ": "JWT", "kid": signer})), encode(&claims));
        let signature =
            self.openssl(&["dgst", "-sha256", "-sign", &format!("{signer}.key"), "-binary"], signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    fn openssl(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("openssl")
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl starts");
        child.stdin.take().expect("standard input is piped").write_all(input).expect("openssl reads its input");
        let output = child.wait_with_output().expect("openssl ends");
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

/// Replaces a file at once, as a volume of Kubernetes does: nobody sees half of it.
pub fn replace(file: &Path, content: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("it can be written");
    fs::rename(new, file).expect("it can be renamed");
}
