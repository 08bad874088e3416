//! Asking ONNX Runtime for an NVIDIA GPU. Its CUDA provider is a library beside its own; what that one is linked with is
//! looked for first, because the loader names only the first library that is missing, and because NVIDIA's libraries may
//! lie beside ONNX Runtime's, where the loader would not look.

use std::{
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
};

use object::{
    LittleEndian,
    elf::{DT_NEEDED, FileHeader64},
    read::{
        ReadCache,
        elf::{Dyn, FileHeader},
    },
};
use ort::{
    ep::{self, ArenaExtendStrategy, ExecutionProvider, ExecutionProviderDispatch, cuda::ConvAlgorithmSearch},
    util::preload_dylib,
};

use super::device::{Asked, DeviceError, MissingLibraries};

const PROVIDER: &str = "libonnxruntime_providers_cuda.so";
const DRIVER: &str = "libcuda.so.1";

/// NVIDIA's libraries that the provider loads by itself where a graph needs them. Those that lie beside ONNX Runtime are
/// loaded before, so that it finds them; whether it needs them is not known yet.
const OPTIONAL: [&str; 4] = ["libnvJitLink.so.", "libnvrtc.so.", "libcudnn.so.", "libcufft.so."];

/// Versions of CUDA's runtime to look for where the one that is needed is missing.
const RUNTIMES: [(u32, &str); 4] =
    [(11, "libcudart.so.11.0"), (12, "libcudart.so.12"), (13, "libcudart.so.13"), (14, "libcudart.so.14")];

/// Looks whether the provider and all that it is linked with can be loaded, and loads NVIDIA's libraries. Gives the version
/// of CUDA that the provider was built for, where it can be told.
///
/// # Errors
/// What is missing.
pub(super) fn load_libraries(library: &Path) -> Result<Option<u32>, DeviceError> {
    let folder = folder(library);
    let shown = || folder.join(library.file_name().unwrap_or_default()).display().to_string();
    if !ep::CUDA::is_available().unwrap_or(false) {
        return Err(DeviceError::CpuBuild { library: shown() });
    }
    let provider = folder.join(PROVIDER);
    let needed = needed(&provider)
        .map_err(|cause| DeviceError::Provider { cause: format!("{}: {cause}", provider.display()) })?;
    let version = needed.iter().find_map(|name| name.strip_prefix("libcudart.so.")?.split('.').next()?.parse().ok());
    let mut missing: Vec<String> = Vec::new();
    for name in needed.iter().filter(|name| name.starts_with("libcu")) {
        if let Err(cause) = load(&folder, name) {
            // A library that is there may need another one that is not.
            let culprit = match cause.split_once(": cannot open shared object file") {
                Some((culprit, _)) => culprit.rsplit('/').next().unwrap_or(culprit).to_owned(),
                None => format!("{name} ({cause})"),
            };
            if !missing.contains(&culprit) {
                missing.push(culprit);
            }
        }
    }
    let driver_too = missing.iter().any(|name| name.starts_with(DRIVER));
    missing.retain(|name| !name.starts_with(DRIVER));
    if !missing.is_empty() {
        let others =
            if missing.iter().any(|name| name.starts_with("libcudart")) { others(version) } else { Vec::new() };
        return Err(DeviceError::Libraries(MissingLibraries { names: missing, version, others, driver_too }));
    }
    if driver_too {
        return Err(DeviceError::NoDriver { cause: format!("{DRIVER}: not found") });
    }
    for name in optional_beside(&folder) {
        if let Err(cause) = load(&folder, &name) {
            tracing::debug!(%name, %cause, "beside ONNX Runtime, but can't be loaded");
        }
    }
    Ok(version)
}

/// ONNX Runtime's CUDA provider with our options; it fails aloud instead of giving way to the CPU.
pub(super) fn provider(asked: &Asked) -> ExecutionProviderDispatch {
    let mut cuda = ep::CUDA::default()
        .with_device_id(i32::try_from(asked.id).unwrap_or(i32::MAX))
        // On by default, and worth three decimals: scores would differ from the CPU's and from the golden rows.
        .with_tf32(false)
        // Batches have one size at most, so memory that doubles in advance would lie idle.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        // For convolutions of foreign graphs: the default tries every algorithm when the first batch comes.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
    if let Some(limit) = asked.memory {
        cuda = cuda.with_memory_limit(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    cuda.build().error_on_failure()
}

/// Where ONNX Runtime was loaded from, which is where it looks for its provider.
fn folder(library: &Path) -> PathBuf {
    match library.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => mapped(library).unwrap_or_default(),
    }
}

/// The folder of a library that was loaded by its name alone, as the kernel's list of this process's files has it.
fn mapped(library: &Path) -> Option<PathBuf> {
    let name = library.to_str()?;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.find('/').map(|start| &line[start..]))
        .find(|path| path.rsplit('/').next().is_some_and(|file| file.starts_with(name)))?;
    Path::new(path).parent().map(Path::to_path_buf)
}

/// Names of the libraries that a library is linked with, CUDA's runtime first, because others of NVIDIA's need it.
fn needed(library: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    // Read where it is needed: the file has some 300 MB.
    let file = ReadCache::new(File::open(library)?);
    let header = FileHeader64::<LittleEndian>::parse(&file)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, &file)?;
    let Some((entries, names)) = sections.dynamic(endian, &file)? else {
        return Err("it is linked with nothing".into());
    };
    let strings = sections.strings(endian, &file, names)?;
    let mut needed = Vec::new();
    for entry in entries.iter().filter(|entry| entry.tag32(endian) == Some(DT_NEEDED)) {
        let name = entry.val32(endian).and_then(|offset| strings.get(offset).ok()).ok_or("its names can't be read")?;
        needed.push(String::from_utf8(name.to_vec())?);
    }
    needed.sort_by_key(|name| !name.starts_with("libcudart"));
    Ok(needed)
}

/// Loads a library from the folder if it lies there, else from where the system looks; it stays loaded.
fn load(folder: &Path, name: &str) -> Result<(), String> {
    let beside = folder.join(name);
    let told = |error: &dyn Error| error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if beside.exists() {
        preload_dylib(&beside).map_err(|error| told(&error))
    } else {
        preload_dylib(name).map_err(|error| told(&error))
    }
}

/// Other versions of CUDA's runtime that the system has.
fn others(version: Option<u32>) -> Vec<u32> {
    let there = |name: &str| preload_dylib(name).is_ok();
    RUNTIMES.iter().filter(|(other, name)| Some(*other) != version && there(name)).map(|(other, _)| *other).collect()
}

/// In the order of [`OPTIONAL`], because some need others.
fn optional_beside(folder: &Path) -> Vec<String> {
    let names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    OPTIONAL.iter().flat_map(|start| names.iter().filter(move |name| name.starts_with(start))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_tells_what_it_is_linked_with() {
        let own = std::env::current_exe().unwrap();
        let needed = needed(&own).unwrap();
        assert!(needed.iter().any(|name| name.starts_with("libc.so")), "{needed:?}");
        assert!(super::needed(Path::new("/nowhere/lib.so")).is_err());
        assert!(super::needed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).is_err());
    }

    #[test]
    fn a_library_that_was_loaded_by_name_is_found_where_it_is_mapped() {
        let folder = folder(Path::new("libc.so"));
        assert!(folder.join("libc.so.6").is_file(), "{}", folder.display());
    }
}
