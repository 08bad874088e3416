//! The token that OAUTHBEARER shows to brokers: a JSON Web Token (RFC 7519) from a file that somebody else renews, such as a
//! projected service account token of Kubernetes, or what a sidecar fetches from an identity provider.

use std::{
    error::Error,
    fs, io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::{config::settings::KafkaSettings, record::timestamp::to_rfc3339};

/// Who the token is for, where it doesn't say so itself. Brokers take the name from the token.
const NOBODY: &str = "strayd";

/// The file with the token, and what came of reading it.
#[derive(Debug, Default)]
pub(super) struct TokenFile {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last good token expires, since the epoch.
    expiry: Duration,
    /// Why there is no newer one.
    fault: Option<String>,
}

/// Why there is no token. No text holds any part of one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum TokenError {
    #[error("kafka.oauth_token_file is not set, expected a file with a token")]
    NotSet,
    #[error("kafka.oauth_token_file {file} can't be read: {cause}")]
    Unreadable { file: String, cause: String },
    #[error("kafka.oauth_token_file {file} holds no JSON Web Token: {what}")]
    NoToken { file: String, what: &'static str },
    // When, and not how long ago: what stays the same is told once.
    #[error("the token in kafka.oauth_token_file {file} expired at {at}, expected a file that is renewed in time")]
    Expired { file: String, at: String },
}

/// What of a token's claims counts here.
#[derive(Debug, Deserialize)]
struct Claims {
    /// Seconds since the epoch, maybe with a fraction.
    exp: Option<f64>,
    sub: Option<String>,
}

impl TokenFile {
    pub(super) fn of(settings: &KafkaSettings) -> Self {
        Self { file: settings.oauth_token_file.clone(), state: Mutex::default() }
    }

    /// The token as it stands in the file now. librdkafka asks for it when a client starts, when four fifths of what was left
    /// of the last one's life are over, and every ten seconds while there is none.
    pub(super) fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let now = since_epoch();
        let read = self.token_at(now);
        let mut state = self.lock();
        match &read {
            Ok(token) => {
                let expiry = Duration::from_millis(u64::try_from(token.lifetime_ms).unwrap_or_default());
                *state = State { expiry, fault: None };
            }
            Err(error) => {
                let fault = Some(error.to_string());
                // Once it has expired, that is told as the reason why there is no connection.
                if state.fault != fault && now < state.expiry {
                    tracing::warn!("the token is not renewed, and shown as long as it is valid: {error}");
                }
                state.fault = fault;
            }
        }
        Ok(read?)
    }

    /// Why there is no token, unless an older one is still valid. Brokers may let a dead one in, and end the connection at
    /// the first request.
    pub(super) fn fault(&self) -> Option<String> {
        let state = self.lock();
        state.fault.clone().filter(|_| since_epoch() >= state.expiry)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token_at(&self, now: Duration) -> Result<OAuthToken, TokenError> {
        let path = self.file.as_ref().ok_or(TokenError::NotSet)?;
        let file = path.display().to_string();
        let unreadable = |cause: io::Error| TokenError::Unreadable { file: file.clone(), cause: cause.to_string() };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let token = text.trim();
        let claims = claims(token).map_err(|what| TokenError::NoToken { file: file.clone(), what })?;
        let no_expiry =
            || TokenError::NoToken { file: file.clone(), what: "its claims have no time of expiry (`exp`)" };
        let expiry = claims.exp.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(no_expiry)?;
        if expiry <= now {
            return Err(TokenError::Expired { file, at: to_rfc3339(expiry.as_secs() as i64 * 1_000_000) });
        }
        Ok(OAuthToken {
            token: token.to_owned(),
            principal_name: claims.sub.unwrap_or_else(|| NOBODY.to_owned()),
            // librdkafka counts in microseconds.
            lifetime_ms: i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 1000),
        })
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The claims of a signed token. Whether the signature is good is for brokers to say.
fn claims(token: &str) -> Result<Claims, &'static str> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_, claims, _] = parts[..] else { return Err("expected three parts with dots between them") };
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).map_err(|_| "its second part is not base64url")?;
    serde_json::from_slice(&claims).map_err(|_| "its second part is no JSON object of claims")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    /// A token with these claims and a signature that nobody checks.
    fn signed(claims: &str) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(claims), part("hunter2"))
    }

    fn of(file: &Path) -> TokenFile {
        TokenFile { file: Some(file.to_path_buf()), ..TokenFile::default() }
    }

    fn read(text: &str) -> Result<OAuthToken, TokenError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        of(file.path()).token_at(NOW)
    }

    #[test]
    fn a_token_is_taken_without_white_space_and_with_the_expiry_that_it_names() {
        let token = signed(r#"{"sub":"system:serviceaccount:streams:strayd","exp":1800000060}"#);
        let taken = read(&format!("{token}\n")).unwrap();
        assert_eq!((taken.token, taken.lifetime_ms), (token, 1_800_000_060_000));
        assert_eq!(taken.principal_name, "system:serviceaccount:streams:strayd");
        let taken = read(&signed(r#"{"exp":1800000000.5}"#)).unwrap();
        assert_eq!((taken.principal_name.as_str(), taken.lifetime_ms), (NOBODY, 1_800_000_000_500));
    }

    #[test]
    fn what_is_no_token_or_a_dead_one_is_told_without_any_of_it() {
        for (text, words) in [
            (String::new(), "expected three parts"),
            ("hunter2".to_owned(), "expected three parts"),
            ("a.hunter2!.b".to_owned(), "is not base64url"),
            (format!("a.{}.b", BASE64URL_NOPAD.encode(b"hunter2")), "no JSON object"),
            (signed(r#"{"sub":"hunter2"}"#), "no time of expiry"),
            (signed(r#"{"exp":-1e300}"#), "no time of expiry"),
            (signed(r#"{"exp":1799999990}"#), "expired at 2027-01-15T07:59:50Z"),
            (signed(r#"{"exp":1800000000}"#), "expired at 2027-01-15T08:00:00Z"),
        ] {
            let Err(error) = read(&text) else { panic!("{text} was taken") };
            let told = error.to_string();
            assert!(told.contains(words) && !told.contains("hunter2"), "{told}");
        }
        let missing = of(Path::new("/nowhere/token")).token_at(NOW).err().unwrap().to_string();
        assert!(missing.starts_with("kafka.oauth_token_file /nowhere/token can't be read: No such"), "{missing}");
        assert!(TokenFile::default().token_at(NOW).is_err());
    }

    #[test]
    fn a_file_that_goes_bad_is_a_fault_when_the_token_before_has_expired() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = of(file.path());
        assert_eq!(token.fault(), None, "nobody has asked");
        assert!(token.token().is_err());
        assert!(token.fault().unwrap().contains("holds no JSON Web Token"));
        fs::write(file.path(), signed(&format!(r#"{{"exp":{}}}"#, since_epoch().as_secs() + 3600))).unwrap();
        assert!(token.token().is_ok());
        assert_eq!(token.fault(), None);
        fs::write(file.path(), "").unwrap();
        assert!(token.token().is_err());
        assert_eq!(token.fault(), None, "the token before is good for an hour");
        token.lock().expiry = since_epoch();
        assert!(token.fault().is_some());
    }
}
