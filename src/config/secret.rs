//! Which librdkafka settings are secrets, and where they may stand: in files of their own, or in the environment.

use std::path::Path;

use serde_json::Value;

use super::error::Problems;

/// Refuses secrets in a layer that many can read: the configuration file, which goes into repositories and ConfigMaps, and
/// the command line, which every user of the machine sees.
pub(super) fn refuse(layer: &Value, place: &str, problems: &mut Problems) {
    let properties = layer.pointer("/kafka/properties").and_then(Value::as_object);
    for key in properties.into_iter().flat_map(|properties| properties.keys()).filter(|key| is_secret(key)) {
        let variable = format!("STRAYD__KAFKA__PROPERTIES__{}", key.to_uppercase().replace('.', "__"));
        let expected = format!("the name of a file in kafka.secrets.{key}, or the environment variable {variable}");
        problems.push(format!("kafka.properties.{key}"), format!("is a secret, which {place} must not hold"), expected);
    }
}

/// Hides what is secret in `kafka.properties`.
pub(super) fn hide(merged: &mut Value) {
    let properties = merged.pointer_mut("/kafka/properties").and_then(Value::as_object_mut);
    for (_, value) in properties.into_iter().flatten().filter(|(key, _)| is_secret(key)) {
        *value = Value::from("***");
    }
}

/// What is wrong with a file that shall hold a secret, if anything is. Not its name: who mistakes its key for that of the secret
/// itself writes that there.
pub(crate) fn unreadable(file: &Path) -> Option<String> {
    match std::fs::read_to_string(file) {
        Err(cause) => Some(format!("the file that it names can't be read: {cause}")),
        Ok(text) if text.trim().is_empty() => Some("the file that it names is empty".to_owned()),
        Ok(_) => None,
    }
}

/// Whether a librdkafka key holds a secret itself. Locations and addresses are no secrets.
fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    let only_points = [".location", ".url", ".uri", ".file"].iter().any(|end| key.ends_with(end));
    let words = ["password", "secret", "passphrase", "token", "credential", "jaas", "key.pem", "assertion.private.key"];
    let named = words.iter().any(|word| key.contains(word));
    // The free-form configuration of OAUTHBEARER may hold anything.
    !only_points && (named || key == "ssl_key" || key == "sasl.oauthbearer.config")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_told_from_places_of_secrets() {
        for secret in [
            "sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.assertion.private.key.passphrase",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for open in ["ssl.key.location", "sasl.oauthbearer.token.endpoint.url", "security.protocol", "sasl.username"] {
            assert!(!is_secret(open), "{open}");
        }
    }

    #[test]
    fn a_secret_is_refused_with_both_places_where_it_may_stand_and_without_its_value() {
        let layer = json!({"kafka": {"properties": {"consumer.sasl.password": "hunter2", "sasl.username": "me"}}});
        let mut problems = Problems::default();
        refuse(&layer, "the configuration file", &mut problems);
        let told = problems.to_string();
        assert_eq!(
            told,
            "kafka.properties.consumer.sasl.password: is a secret, which the configuration file must not hold, expected the name of a \
             file in kafka.secrets.consumer.sasl.password, or the environment variable \
             STRAYD__KAFKA__PROPERTIES__CONSUMER__SASL__PASSWORD"
        );
    }
}
