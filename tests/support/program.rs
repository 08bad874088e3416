//! The program as a user calls it, with ONNX Runtime where the project's scripts put it.

use std::{
    path::Path,
    process::{Command, Output},
};

use super::tools::root;

pub fn strayd(folder: &Path, arguments: &[&str]) -> Output {
    let runtime = root().join(".local/onnxruntime/lib/libonnxruntime.so");
    Command::new(env!("CARGO_BIN_EXE_strayd"))
        .args(arguments)
        .current_dir(folder)
        .env("ORT_DYLIB_PATH", std::env::var_os("ORT_DYLIB_PATH").map_or(runtime, Into::into))
        .env("STRAYD__LOG__LEVEL", "error")
        .output()
        .expect("the program starts")
}

/// What it said on standard error.
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it and asserts that it succeeds; gives standard output and standard error.
pub fn succeed(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = strayd(folder, arguments);
    assert!(output.status.success(), "strayd {arguments:?}: {}", told(&output));
    (String::from_utf8_lossy(&output.stdout).into_owned(), told(&output))
}
