//! Python with onnx and onnxruntime, from the virtual environment that `make test-tools` makes.

use std::path::Path;
use std::process::Command;

use super::tools::{leave_out, root};

/// Runs a script of the tests and gives what it wrote. `None` where there is no such Python. Panics with its error.
pub fn python(script: &str, argument: &Path) -> Option<String> {
    let python = root().join(".local/venv/bin/python");
    if !python.is_file() {
        leave_out("PYTHON: ITS ONNX AND ONNXRUNTIME ARE NOT HERE, SO NO TEST COMPARED WITH THEM");
        return None;
    }
    let output = Command::new(python).arg(root().join(script)).arg(argument).output().expect("python starts");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
