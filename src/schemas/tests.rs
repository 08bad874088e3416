//! Against a server that answers as it is told; tests/formats.rs asks a real registry.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use serde_json::json;

use super::*;

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request's head and, behind an empty line, its body.
fn request(from: &mut impl BufRead) -> String {
    let lines = from.lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let head: Vec<String> = lines.collect();
    let length = head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    from.read_exact(&mut body).unwrap();
    format!("{}\n\n{}", head.join("\n"), String::from_utf8(body).unwrap())
}

/// Answers each request, which it passes on, with the next of these until there are none.
struct Server {
    url: String,
    heads: Receiver<String>,
    answers: Sender<(u16, String)>,
}

fn serve() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, heads) = channel();
    let (answers, next) = channel::<(u16, String)>();
    thread::spawn(move || {
        for (status, body) in next {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = tell.send(request(&mut BufReader::new(stream.try_clone().unwrap())));
            let _ = write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    Server { url, heads, answers }
}

fn settings(url: &str) -> SchemaRegistrySettings {
    SchemaRegistrySettings {
        url: url.to_owned(),
        user: None,
        password_file: None,
        token_file: None,
        ca_file: None,
        timeout: PATIENCE,
    }
}

/// A schema is its text and those of its references.
fn compile(definition: &Definition) -> Result<Vec<String>, String> {
    definition.require("AVRO")?;
    let texts = definition.references.iter().map(|reference| reference.text.clone());
    Ok(texts.chain([definition.text.clone()]).collect())
}

/// What becomes of a schema that was asked for.
fn wait(schemas: &Schemas<Vec<String>>, id: u32) -> Result<Vec<String>, String> {
    let start = Instant::now();
    loop {
        match schemas.lookup(id) {
            Lookup::Known(schema) => return Ok(schema.to_vec()),
            Lookup::Unusable(why) => return Err(why.to_string()),
            Lookup::Awaited => assert!(start.elapsed() < PATIENCE, "{:?}", schemas.fault()),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_schema_comes_once_with_all_that_it_refers_to() {
    let server = serve();
    let schemas = Schemas::new(settings(&server.url), compile);
    let reference = |name: &str, subject: &str| json!({"name": name, "subject": subject, "version": 3});
    for answer in [
        json!({"schema": "top", "references": [reference("b", "sub/b"), reference("c", "c")]}),
        json!({"schema": "b", "references": [reference("c", "c")]}),
        json!({"schema": "c"}),
    ] {
        server.answers.send((200, answer.to_string())).unwrap();
    }
    assert!(matches!(schemas.lookup(7), Lookup::Awaited));
    assert_eq!(wait(&schemas, 7), Ok(["c", "b", "top"].map(str::to_owned).to_vec()));
    assert_eq!(wait(&schemas.clone(), 7), wait(&schemas, 7), "nothing more is asked");
    let paths: Vec<String> = server.heads.try_iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
    let expected = ["/schemas/ids/7", "/subjects/sub%2Fb/versions/3", "/subjects/c/versions/3"];
    assert_eq!(paths, expected.map(|path| format!("GET {path} HTTP/1.1")));
}

#[test]
fn what_proves_who_asks_is_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret\n").unwrap();
    let heads = |settings: SchemaRegistrySettings, server: &Server| {
        server.answers.send((200, json!({"schema": "a"}).to_string())).unwrap();
        wait(&Schemas::new(settings, compile), 1).unwrap();
        server.heads.recv().unwrap().to_lowercase()
    };
    let server = serve();
    let user = SchemaRegistrySettings {
        user: Some("strayd".into()),
        password_file: Some(file.clone()),
        ..settings(&server.url)
    };
    let head = heads(user, &server);
    assert!(head.contains("authorization: basic c3ryyxlkonmzy3jlda=="), "{head}");
    assert!(head.contains("accept: application/vnd.schemaregistry.v1+json"), "{head}");
    let token = SchemaRegistrySettings { token_file: Some(file), ..settings(&server.url) };
    assert!(heads(token, &server).contains("authorization: bearer s3cret"));
    assert!(!heads(settings(&server.url), &server).contains("authorization"));
}

#[test]
fn a_registry_that_is_away_is_asked_until_it_answers() {
    let server = serve();
    let schemas = Schemas::new(settings(&server.url), compile);
    let message = json!({"error_code": 50001, "message": "the store is down"}).to_string();
    assert!(matches!(schemas.lookup(1), Lookup::Awaited));
    for answer in [(500, message), (401, String::new()), (200, "<html>".to_owned())] {
        server.answers.send(answer.clone()).unwrap();
        server.heads.recv().unwrap();
        let start = Instant::now();
        let told = format!("/schemas/ids/1{}", if answer.0 == 200 { " answers no schema" } else { ": HTTP/1.1 " });
        while !schemas.fault().is_some_and(|fault| fault.contains(&told) && fault.starts_with(&server.url)) {
            assert!(start.elapsed() < PATIENCE, "{:?} is not {told}", schemas.fault());
            thread::sleep(Duration::from_millis(5));
        }
        assert!(matches!(schemas.lookup(1), Lookup::Awaited), "{answer:?}");
    }
    server.answers.send((200, json!({"schema": "a", "schemaType": "AVRO"}).to_string())).unwrap();
    assert_eq!(wait(&schemas, 1), Ok(vec!["a".to_owned()]));
    assert_eq!(schemas.fault(), None);
}

#[test]
fn a_schema_that_is_not_there_or_of_no_use_is_told_and_awaited_by_nobody() {
    let server = serve();
    let schemas = Schemas::new(settings(&server.url), compile);
    server.answers.send((404, json!({"error_code": 40403, "message": "Schema not found"}).to_string())).unwrap();
    let told = wait(&schemas, 9).unwrap_err();
    assert!(told.starts_with(&format!("schema 9 of {}: ", server.url)), "{told}");
    assert!(told.contains("404") && told.contains("(Schema not found)"), "{told}");
    server.answers.send((200, json!({"schema": "a", "schemaType": "PROTOBUF"}).to_string())).unwrap();
    assert!(wait(&schemas, 10).unwrap_err().contains("it is PROTOBUF, expected AVRO"));
    assert_eq!(schemas.fault(), None, "the registry answers");
}

/// What comes of registering a schema where the registry answers so, and the requests that it saw.
fn registered(answers: &[(u16, serde_json::Value)]) -> (Result<(), String>, Vec<String>, OutputSchemas) {
    let server = serve();
    answers.iter().for_each(|(status, body)| server.answers.send((*status, body.to_string())).unwrap());
    let schemas = OutputSchemas::new(settings(&server.url));
    let result = schemas.register("strayd.anomalies-value", r#"{"type":"record"}"#);
    (result, server.heads.try_iter().collect(), schemas)
}

fn lines(requests: &[String]) -> Vec<&str> {
    requests.iter().filter_map(|request| request.lines().next()).collect()
}

#[test]
fn a_schema_that_the_subject_has_is_found_by_who_may_only_read() {
    let (result, requests, schemas) = registered(&[(200, json!({"subject": "s", "version": 1, "id": 17}))]);
    assert_eq!((result, schemas.id("strayd.anomalies-value")), (Ok(()), Some(17)));
    assert_eq!(lines(&requests), ["POST /subjects/strayd.anomalies-value HTTP/1.1"]);
    let (head, body) = requests[0].split_once("\n\n").unwrap();
    assert!(head.to_lowercase().contains("content-type: application/vnd.schemaregistry.v1+json"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, json!({"schema": r#"{"type":"record"}"#, "schemaType": "AVRO"}));
    assert_eq!(schemas.clone().register("strayd.anomalies-value", ""), Ok(()), "it is known, and nobody asked again");
}

#[test]
fn a_schema_that_the_subject_has_not_is_registered_and_a_refusal_told_in_the_registrys_words() {
    let missing = (404, json!({"error_code": 40401, "message": "Subject not found"}));
    let (result, requests, schemas) = registered(&[missing.clone(), (200, json!({"id": 18}))]);
    assert_eq!((result, schemas.id("strayd.anomalies-value")), (Ok(()), Some(18)));
    let versions = "POST /subjects/strayd.anomalies-value/versions HTTP/1.1";
    assert_eq!(lines(&requests), ["POST /subjects/strayd.anomalies-value HTTP/1.1", versions]);
    let (refused, _, schemas) = registered(&[missing, (409, json!({"message": "incompatible with version 1"}))]);
    let why = refused.unwrap_err();
    assert!(why.contains("409") && why.contains("(incompatible with version 1)"), "{why}");
    assert_eq!(schemas.id("strayd.anomalies-value"), None);
}

#[test]
fn files_that_hold_nothing_of_use_are_told_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        Some(folder.path().join(name))
    };
    let bad = SchemaRegistrySettings {
        password_file: file("password", "\n"),
        token_file: Some("hunter2".into()),
        ca_file: file("ca", "hunter3"),
        ..settings("https://registry")
    };
    let problems = bad.check_secrets();
    let told: Vec<(&str, &str)> = problems.iter().map(|found| (found.key, found.problem.as_str())).collect();
    assert_eq!(told[0], ("record.schema_registry.password_file", "the file that it names is empty"));
    assert!(told[1].0.ends_with(".token_file") && told[1].1.contains("can't be read: No such file"), "{told:?}");
    assert!(
        told[2].0.ends_with(".ca_file") && told[2].1.ends_with("holds no certificate that can be read"),
        "{told:?}"
    );
    assert!(told.len() == 3 && !format!("{problems:?}").contains("hunter"), "{problems:?}");
    let good = SchemaRegistrySettings { password_file: file("password", "x"), ..settings("https://registry") };
    assert_eq!(good.check_secrets(), []);
}
