//! What a model runs on, and why a GPU can't be had: ONNX Runtime's and CUDA's words turned into what is missing and how
//! to get it.

use std::fmt;

/// What a model runs on. Shown as `cpu` or `cuda:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU with this number, as CUDA counts them.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(id) => write!(f, "cuda:{id}"),
        }
    }
}

/// Why the GPU can't be had. Each says what is missing, how to get it, and what the layer below said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// ONNX Runtime was built without CUDA.
    #[error(
        "{library} is ONNX Runtime's build for CPUs; fetch the one for GPUs with `make fetch-onnxruntime DEVICE=cuda` and \
         name its library in runtime.library, or use the CUDA variant of strayd's image"
    )]
    CpuBuild {
        /// The library's file.
        library: String,
    },
    /// The CUDA provider, a library of its own, can't be loaded for another reason than those below.
    #[error(
        "ONNX Runtime's CUDA provider can't be loaded ({cause}); it has to lie beside libonnxruntime.so and be of the same \
         version: `make fetch-onnxruntime DEVICE=cuda` fetches both"
    )]
    Provider {
        /// What the loader said.
        cause: String,
    },
    /// Libraries that the provider is linked with are missing.
    #[error("{0}")]
    Libraries(MissingLibraries),
    /// The driver's library is missing.
    #[error(
        "the NVIDIA driver's library is missing ({cause}); install the driver on the host; a container gets it from the \
         NVIDIA Container Toolkit (docker run --gpus all; in Kubernetes runtimeClassName nvidia and the resource \
         nvidia.com/gpu)"
    )]
    NoDriver {
        /// What the loader said.
        cause: String,
    },
    /// The driver's library is the one that programs are only linked with.
    #[error(
        "libcuda.so.1 is CUDA's stub for building, not the driver ({cause}); take the folder `stubs` off LD_LIBRARY_PATH \
         and install the NVIDIA driver"
    )]
    StubDriver {
        /// What CUDA said.
        cause: String,
    },
    /// The driver is older than the CUDA that ONNX Runtime was built for.
    #[error(
        "the NVIDIA driver is too old for {}: update it{} ({cause})",
        cuda(*.version),
        .version.and_then(least_driver).map_or_else(String::new, |least| format!(" to {least} or newer"))
    )]
    OldDriver {
        /// Version of CUDA that is needed, where it is known.
        version: Option<u32>,
        /// What CUDA said.
        cause: String,
    },
    /// No GPU.
    #[error(
        "there is no GPU that CUDA can use ({cause}); check with `nvidia-smi` that there is one, that CUDA_VISIBLE_DEVICES \
         doesn't hide it, and that a container was given it (docker run --gpus all; in Kubernetes the resource \
         nvidia.com/gpu)"
    )]
    NoDevice {
        /// What CUDA said.
        cause: String,
    },
    /// Fewer GPUs than the number says.
    #[error(
        "runtime.device_id is {id}, but {}: CUDA counts them from 0 ({cause})",
        .count.map_or_else(|| "there are not so many GPUs".to_owned(), |count| format!("the number of GPUs is {count}"))
    )]
    NoSuchDevice {
        /// The number asked for.
        id: u32,
        /// How many GPUs there are, where it is known.
        count: Option<u32>,
        /// What CUDA said.
        cause: String,
    },
    /// The GPU is taken.
    #[error(
        "the GPU is busy or may not be used ({cause}); `nvidia-smi` shows who uses it; its compute mode must allow more than \
         one process, or this one alone"
    )]
    Busy {
        /// What CUDA said.
        cause: String,
    },
    /// The GPU's memory is full, or the limit is too low.
    #[error(
        "out of GPU memory ({cause}); {}, pipeline.batch_rows says how much a batch needs, and `nvidia-smi` shows who else \
         uses the GPU",
        .limit.map_or_else(|| "runtime.device_memory is not set".to_owned(), |limit| format!("runtime.device_memory is {limit} bytes"))
    )]
    OutOfMemory {
        /// `runtime.device_memory`
        limit: Option<u64>,
        /// What CUDA or ONNX Runtime said.
        cause: String,
    },
    /// cuDNN is missing or of another version.
    #[error(
        "cuDNN 9 for {} is missing or of another version ({cause}); install it, or fetch it with `make fetch-onnxruntime \
         DEVICE=cuda CUDA_LIBRARIES=yes`",
        cuda(*.version)
    )]
    Cudnn {
        /// Version of CUDA that is needed, where it is known.
        version: Option<u32>,
        /// What ONNX Runtime or cuDNN said.
        cause: String,
    },
    /// The GPU is of a generation that ONNX Runtime has no code for.
    #[error(
        "this ONNX Runtime has no code for this GPU ({cause}); use a newer GPU, or an ONNX Runtime that was built for it"
    )]
    Unsupported {
        /// What CUDA said.
        cause: String,
    },
    /// Anything else.
    #[error("the GPU can't be used: {cause}")]
    Other {
        /// What ONNX Runtime said.
        cause: String,
    },
}

/// Libraries that can't be loaded, and what is there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLibraries {
    /// Their names; with the loader's words where they are there and can't be loaded.
    pub names: Vec<String>,
    /// Version of CUDA that ONNX Runtime was built for, where it is known.
    pub version: Option<u32>,
    /// Other versions that are there, but don't serve, such as `CUDA 12`.
    pub others: Vec<&'static str>,
    /// Whether the driver's library is missing too.
    pub driver_too: bool,
}

impl fmt::Display for MissingLibraries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = cuda(self.version);
        write!(f, "this ONNX Runtime was built for {wanted}, and misses {}", self.names.join(", "))?;
        for other in &self.others {
            write!(f, "; {other} is here, but no other version serves")?;
        }
        let cudnn = if self.names.iter().any(|name| name.starts_with("libcudnn")) { " with its cuDNN" } else { "" };
        write!(f, "; install {wanted}{cudnn}, or fetch ")?;
        if self.version.is_none_or(|version| version == FETCHED) {
            f.write_str("NVIDIA's libraries with `make fetch-onnxruntime DEVICE=cuda CUDA_LIBRARIES=yes`")?;
        } else {
            write!(f, "ONNX Runtime for CUDA {FETCHED} with `make fetch-onnxruntime DEVICE=cuda`")?;
        }
        if self.driver_too {
            f.write_str("; the NVIDIA driver's library libcuda.so.1 is missing too: install the driver on the host")?;
        }
        Ok(())
    }
}

/// Version of CUDA that `make fetch-onnxruntime DEVICE=cuda` fetches ONNX Runtime for.
const FETCHED: u32 = 13;

fn cuda(version: Option<u32>) -> String {
    version.map_or_else(|| "CUDA".to_owned(), |version| format!("CUDA {version}"))
}

/// The oldest driver that runs programs of this CUDA, by NVIDIA's table of minor version compatibility.
fn least_driver(version: u32) -> Option<u32> {
    match version {
        11 => Some(450),
        12 => Some(525),
        13 => Some(580),
        _ => None,
    }
}

/// What was asked of the GPU: says more in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// `runtime.device_id`
    pub id: u32,
    /// `runtime.device_memory`
    pub memory: Option<u64>,
    /// Version of CUDA that ONNX Runtime was built for, where it is known.
    pub version: Option<u32>,
}

impl Asked {
    /// The same of words that are about the device in any case.
    pub fn diagnosed(&self, words: &str) -> DeviceError {
        self.diagnose(words).unwrap_or_else(|| DeviceError::Other { cause: first_failure(words) })
    }

    /// What these words of ONNX Runtime or CUDA mean; `None` where they are not about the device.
    pub fn diagnose(&self, words: &str) -> Option<DeviceError> {
        let cause = first_failure(words);
        let has = |what: &[&str]| what.iter().any(|what| words.contains(what));
        let version = self.version;
        // By number, as CUDA's runtime counts its errors (driver_types.h), else by what is said.
        Some(match failure(words, "CUDA failure ") {
            Some(2) => DeviceError::OutOfMemory { limit: self.memory, cause },
            Some(34) => DeviceError::StubDriver { cause },
            Some(35 | 803 | 804) => DeviceError::OldDriver { version, cause },
            Some(100) => DeviceError::NoDevice { cause },
            Some(101) => DeviceError::NoSuchDevice { id: self.id, count: None, cause },
            Some(46 | 801) => DeviceError::Busy { cause },
            Some(98 | 209) => DeviceError::Unsupported { cause },
            Some(_) => DeviceError::Other { cause },
            None if has(&["Invalid device ID: "]) => {
                DeviceError::NoSuchDevice { id: self.id, count: failure(words, "(inclusive) and "), cause }
            }
            None if has(&OUT_OF_MEMORY) => DeviceError::OutOfMemory { limit: self.memory, cause },
            None if has(&["libcuda.so.1: "]) => DeviceError::NoDriver { cause },
            None if has(&["cuDNN is not available", "CUDNN failure", "libcudnn"]) => {
                DeviceError::Cudnn { version, cause }
            }
            None if has(&["libonnxruntime_providers_"]) => DeviceError::Provider { cause },
            None if has(&["CUBLAS failure", "CUDAExecutionProvider", "CUDA execution provider"]) => {
                DeviceError::Other { cause }
            }
            None => return None,
        })
    }
}

/// What is said where memory runs out: by ONNX Runtime's arena at its limit and beyond it, by cuBLAS and by cuDNN.
const OUT_OF_MEMORY: [&str; 5] = [
    "Failed to allocate memory for requested buffer",
    "is smaller than requested bytes",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "out of memory",
];

/// The number after this text.
fn failure(words: &str, before: &str) -> Option<u32> {
    let (_, after) = words.split_once(before)?;
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..end].parse().ok()
}

/// ONNX Runtime's words without the places in its sources that they come from.
fn first_failure(words: &str) -> String {
    let starts = [
        "CUDA failure ",
        "CUDNN failure ",
        "CUBLAS failure ",
        "Invalid device ID",
        "cuDNN is not",
        "Failed to load library ",
        "Failed to allocate memory",
    ];
    let start = starts.iter().filter_map(|start| words.find(start)).min().unwrap_or(0);
    let told = &words[start..];
    let end = told.find(" ; ").unwrap_or(told.len());
    told[..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked { id: 1, memory: Some(1 << 30), version: Some(13) };

    // How ONNX Runtime begins and ends what it says of CUDA, as it says it.
    const CALL: &str = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:123 std::conditional_t<THRW, void, \
                        onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, ERRTYPE, \
                        const char*, const char*, int) [with ERRTYPE = cudaError; bool THRW = true] ";
    const PARSE: &str = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider_info.cc:63 static \
                         onnxruntime::CUDAExecutionProviderInfo \
                         onnxruntime::CUDAExecutionProviderInfo::FromProviderOptions(const \
                         onnxruntime::ProviderOptions&) [ONNXRuntimeError] : 1 : FAIL : provider_options_utils.h:187 \
                         Parse Failed to parse provider option \"device_id\": ";
    const BRIDGE: &str = "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& \
                          onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library \
                          /lib/libonnxruntime_providers_cuda.so with error: ";
    const ARENA: &str = "Non-zero status code returned while running Gemm node. Name:'layer_0' Status Message: \
                         /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* \
                         onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, \
                         onnxruntime::WaitNotificationFn) ";
    const END: &str = " ; GPU=-1 ; hostname=host ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/\
                       cuda_execution_provider_info.cc ; line=70 ; expr=cudaGetDeviceCount(&num_devices); ";

    /// Beginning and words, what must be told, and what must be kept of the words. Said by version 1.31.1 with the libraries
    /// of CUDA 13 and the drivers 535 and 550, and by 1.26.0 with those of CUDA 12, on a machine without a GPU; the rest partly as
    /// users of ONNX Runtime have reported it, partly put together from the library's own words and CUDA's form of errors.
    const CASES: [(&str, &str, &str, &str); 15] = [
        (
            PARSE,
            "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version",
            "too old for CUDA 13: update it to 580 or newer",
            "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version",
        ),
        (
            CALL,
            "CUDA failure 100: no CUDA-capable device is detected",
            "there is no GPU",
            "CUDA failure 100: no CUDA-capable",
        ),
        (
            CALL,
            "CUDA failure 101: invalid device ordinal",
            "runtime.device_id is 1, but there are not so many",
            "failure 101",
        ),
        (
            PARSE,
            "Invalid device ID: 1, must be between 0 (inclusive) and 1 (exclusive).",
            "runtime.device_id is 1, but the number of GPUs is 1",
            "Invalid device ID: 1, must be between 0 (inclusive) and 1 (exclusive).",
        ),
        (
            CALL,
            "CUDA failure 2: out of memory",
            "runtime.device_memory is 1073741824 bytes",
            "CUDA failure 2: out of memory",
        ),
        (
            ARENA,
            "Failed to allocate memory for requested buffer of size 8388608000",
            "out of GPU memory",
            "of size 8388608000",
        ),
        (
            CALL,
            "CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED",
            "cuDNN 9 for CUDA 13",
            "CUDNN_STATUS_NOT_INITIALIZED",
        ),
        (
            "",
            "cuDNN is not available. Install cuDNN, or set enable_cudnn=0",
            "CUDA_LIBRARIES=yes",
            "cuDNN is not available.",
        ),
        (
            BRIDGE,
            "libcudnn.so.9: cannot open shared object file: No such file or directory",
            "cuDNN 9 for CUDA 13",
            "libcudnn.so.9: cannot open shared object file",
        ),
        (
            BRIDGE,
            "libcuda.so.1: cannot open shared object file: No such file or directory",
            "install the driver on the host",
            "libcuda.so.1: cannot open shared object file",
        ),
        (BRIDGE, "undefined symbol: Provider_GetHost", "of the same version", "undefined symbol: Provider_GetHost"),
        (CALL, "CUDA failure 209: no kernel image is available", "no code for this GPU", "CUDA failure 209"),
        (CALL, "CUDA failure 34: CUDA driver is a stub library", "not the driver", "CUDA failure 34"),
        (CALL, "CUDA failure 46: all CUDA-capable devices are busy or unavailable", "busy", "CUDA failure 46"),
        (CALL, "CUDA failure 999: unknown error", "can't be used", "CUDA failure 999: unknown error"),
    ];

    #[test]
    fn words_of_onnx_runtime_and_cuda_are_told_apart() {
        for (begin, said, told, kept) in CASES {
            let words = format!("{begin}{said}{END}");
            let error = ASKED.diagnose(&words).unwrap_or_else(|| panic!("not told: {words}")).to_string();
            assert!(error.contains(told) && error.contains(kept), "{words}\ngives: {error}");
            assert!(!error.contains("onnxruntime_src"), "{error}");
        }
    }

    #[test]
    fn a_fault_of_the_file_is_none_of_the_device() {
        let words = "Load model from memory failed:Protobuf parsing failed.";
        assert_eq!(ASKED.diagnose(words), None);
        assert_eq!(ASKED.diagnosed(words), DeviceError::Other { cause: words.to_owned() });
    }

    #[test]
    fn missing_libraries_are_named_with_what_is_there_instead_and_what_fetches_them() {
        let mut missing = MissingLibraries {
            names: vec!["libcudart.so.13".into(), "libcublas.so.13".into()],
            version: Some(13),
            others: vec!["CUDA 12"],
            driver_too: true,
        };
        let told = missing.to_string();
        for words in [
            "libcudart.so.13, libcublas.so.13",
            "CUDA 12 is here",
            "install CUDA 13",
            "CUDA_LIBRARIES=yes",
            "libcuda.so.1",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        missing.version = Some(12);
        missing.names = vec!["libcudnn.so.9".into()];
        let told = missing.to_string();
        assert!(told.contains("install CUDA 12 with its cuDNN, or fetch ONNX Runtime for CUDA 13"), "{told}");
    }
}
