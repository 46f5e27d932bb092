//! What is compiled for tests, by the system's compiler (`CXX`, else `c++`), once for the sources that there are: the kernels of
//! `kernels/` as C++, over `cuda.h` beside this file, and the stand-ins for NVIDIA's libraries that run them.
#![allow(dead_code, unreachable_pub)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use mixnn::compute::cuda::{FUNCTIONS, SOURCES};

const SHIM: [&str; 2] = [include_str!("cuda.h"), include_str!("cuda.cpp")];
const HEADERS: [(&str, &str); 3] =
    [("cuda.h", SHIM[0]), ("fake.h", include_str!("fake.h")), ("fake_device.h", include_str!("fake_device.h"))];
/// Each library, and the files that it is made of.
const FAKES: [(&str, &[(&str, &str)]); 3] = [
    (
        "libcuda.so",
        &[
            ("fake_cuda.cpp", include_str!("fake_cuda.cpp")),
            ("fake_memory.cpp", include_str!("fake_memory.cpp")),
            ("fake_queues.cpp", include_str!("fake_queues.cpp")),
        ],
    ),
    ("libnvrtc.so", &[("fake_nvrtc.cpp", include_str!("fake_nvrtc.cpp"))]),
    ("libcublasLt.so", &[("fake_cublaslt.cpp", include_str!("fake_cublaslt.cpp"))]),
];

/// The library of the kernels.
pub fn kernels() -> PathBuf {
    objects().join("kernels.so")
}

/// A folder with `libcuda.so`, `libnvrtc.so` and `libcublasLt.so`.
pub fn fakes() -> PathBuf {
    let kernels = objects();
    made("fakes", (&kernels, HEADERS, FAKES), |folder| {
        for (file, text) in HEADERS {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let started = FAKES.map(|(_, files)| {
            let started = files.iter().map(|(file, text)| compile(folder, file, text));
            started.collect::<Vec<_>>()
        });
        for ((library, _), compilers) in FAKES.iter().zip(started) {
            let mut made: Vec<PathBuf> = compilers.into_iter().map(finished).collect();
            let mut options = vec![format!("-Wl,-soname,{library}"), "-Wl,-z,defs".to_owned()];
            match *library {
                "libcuda.so" => made.extend(kernel_objects(&kernels)),
                // What is multiplied is queued with the rest.
                "libcublasLt.so" => options.extend([
                    format!("-L{}", folder.display()),
                    "-lcuda".to_owned(),
                    "-Wl,-rpath,$ORIGIN".to_owned(),
                ]),
                _ => {}
            }
            link(&made, &options, &folder.join(library));
        }
    })
}

fn kernel_objects(folder: &Path) -> Vec<PathBuf> {
    let files = SOURCES.iter().map(|(file, _)| folder.join(format!("{file}.cpp.o")));
    files.chain([folder.join("cuda.cpp.o")]).collect()
}

/// A folder with the kernels' objects, and their library.
fn objects() -> PathBuf {
    made("kernels", (SOURCES, FUNCTIONS, SHIM), |folder| {
        std::fs::write(folder.join("cuda.h"), SHIM[0]).unwrap();
        std::fs::write(folder.join("functions.cuh"), FUNCTIONS).unwrap();
        // Each family is a program of its own, so that two may have functions of one name: objects, compiled side by side.
        let mut compilers = Vec::new();
        let mut families = String::new();
        let mut list = String::new();
        for (i, (file, source)) in SOURCES.iter().enumerate() {
            let text = format!("#include \"cuda.h\"\n#line 1 \"kernels/{file}\"\n{source}\n{}", table(i, source));
            compilers.push(compile(folder, &format!("{file}.cpp"), &text));
            families += &format!("extern const Named family_{i}[];\n");
            list += &format!("  {{\"{file}\", {}ull, family_{i}}},\n", checksum(source.as_bytes()));
        }
        let text = format!(
            "#include \"cuda.h\"\n{families}const Family shim_families[] = {{\n{list}  {{nullptr, 0, nullptr}}}};\n{}",
            SHIM[1]
        );
        compilers.push(compile(folder, "cuda.cpp", &text));
        let objects: Vec<PathBuf> = compilers.into_iter().map(finished).collect();
        assert_eq!(objects, kernel_objects(folder));
        link(&objects, &[], &folder.join("kernels.so"));
    })
}

/// A folder that `make` has filled, now or before, for the same `key`.
// Locks of files are newer than the oldest toolchain that builds mixnn; tests ask for more.
#[allow(clippy::incompatible_msrv)]
fn made(name: &str, key: impl Hash, make: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:016x}", hasher.finish()));
    std::fs::create_dir_all(&folder).unwrap();
    // Tests are processes: the first compiles, the others wait.
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let whole = folder.join("whole");
    if !whole.exists() {
        make(&folder);
        std::fs::write(whole, "").unwrap();
    }
    folder
}

fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())
}

fn compile(folder: &Path, file: &str, text: &str) -> (PathBuf, Child) {
    let source = folder.join(file);
    let object = folder.join(format!("{file}.o"));
    std::fs::write(&source, text).unwrap();
    // As NVRTC compiles kernels: no contraction.
    let options = ["-std=c++17", "-O2", "-fPIC", "-ffp-contract=off", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused"];
    let started = Command::new(compiler())
        .args(options)
        .args(["-march=native", "-fno-strict-aliasing", "-c", "-o"])
        .args([&object, &source])
        .spawn();
    (object, started.unwrap_or_else(|error| panic!("cannot run {}: {error}", compiler())))
}

fn finished((object, mut compiler): (PathBuf, Child)) -> PathBuf {
    assert!(compiler.wait().unwrap().success(), "{} does not compile as C++", object.display());
    object
}

fn link(objects: &[PathBuf], options: &[String], library: &Path) {
    let linker = Command::new(compiler()).arg("-shared").args(objects).args(options).arg("-o").arg(library).status();
    assert!(linker.unwrap().success(), "{} cannot be linked", library.display());
}

/// FNV-1a, of 64 bits, as in `fake.h`.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The kernels of `source`, by name, with what their parameters are.
fn table(number: usize, source: &str) -> String {
    let mut rows = String::new();
    for name in kernel_names(source) {
        rows += &format!("  {{\"{name}\", shim_call<{name}>, shim_kinds_of({name})}},\n");
    }
    format!(
        "#include <utility>
template <auto kernel, class... P, size_t... I>
static void shim_apply(void (*)(P...), void **args, std::index_sequence<I...>) {{ kernel(*(P *)args[I]...); }}
template <class... P> static constexpr size_t shim_count(void (*)(P...)) {{ return sizeof...(P); }}
template <auto kernel> static void shim_call(void **args) {{
  shim_apply<kernel>(kernel, args, std::make_index_sequence<shim_count(kernel)>());
}}
template <class P> constexpr char shim_kind() {{
  if (std::is_pointer<P>::value) return 'p';
  if (std::is_same<P, float>::value) return 'f';
  if (std::is_integral<P>::value) return sizeof(P) == 4 ? 'u' : sizeof(P) == 8 ? 'U' : '?';
  return '?';
}}
template <class... P> static const char *shim_kinds_of(void (*)(P...)) {{
  static const char kinds[] = {{shim_kind<P>()..., 0}};
  return kinds;
}}
extern const Named family_{number}[];
const Named family_{number}[] = {{\n{rows}  {{nullptr, nullptr, nullptr}}}};\n"
    )
}

/// The names behind `__global__ void`, and the first words of macros that define kernels, in capitals at a line's begin.
pub fn kernel_names(source: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    let mut makers = Vec::new();
    let mut before = "";
    for line in source.lines() {
        if let Some(at) = line.find("__global__ ") {
            let rest = line[at..].split_once("void ").map_or("", |(_, rest)| rest);
            let rest = rest.trim_start();
            // Of a kernel that a macro defines, the name is the macro's argument.
            let defined = before.starts_with("#define ").then(|| word(&before[8..]));
            match defined {
                Some(maker) => makers.push(maker),
                None => names.push(word(rest)),
            }
        }
        for maker in &makers {
            if let Some(rest) = line.strip_prefix(maker.as_str()).and_then(|rest| rest.strip_prefix('(')) {
                names.push(word(rest));
            }
        }
        before = line;
    }
    names
}
