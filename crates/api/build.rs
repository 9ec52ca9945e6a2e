//! Compiles `proto/` without protoc: messages, clients and servers by tonic, the descriptor set
//! for reflection and the command line, and the table of rights from the method options.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use prost_reflect::{DescriptorPool, MethodDescriptor, Value};

const PROTO_ROOT: &str = "../../proto";
const RIGHT_OPTION: &str = "pentad.options.v1.right";

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    println!("cargo:rerun-if-changed={PROTO_ROOT}");
    let mut files = Vec::new();
    collect_protos(Path::new(PROTO_ROOT), &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([PROTO_ROOT])?;
    compiler.include_source_info(true).include_imports(true).open_files(&files)?;
    let descriptors = compiler.encode_file_descriptor_set();
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("pentad.bin"), &descriptors)?;
    fs::write(out_dir.join("rights.rs"), rights_table(&descriptors)?)?;

    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(prost::Message::decode(descriptors.as_slice())?)?;
    Ok(())
}

fn collect_protos(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_protos(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// One match arm for each method that declares a right, and the list of those that stream.
/// prost-types drops extensions, so the options are read with prost-reflect.
fn rights_table(descriptors: &[u8]) -> Result<String, Error> {
    let pool = DescriptorPool::decode(descriptors)?;
    let option = pool
        .get_extension_by_name(RIGHT_OPTION)
        .ok_or_else(|| format!("extension {RIGHT_OPTION} is not defined"))?;
    let mut arms = String::new();
    let mut streaming = String::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let right = match method.options().get_extension(&option).as_ref() {
            Value::EnumNumber(0) => {
                let name = method.full_name();
                return Err(format!("{name} declares no right (option {RIGHT_OPTION})").into());
            }
            Value::EnumNumber(number) => *number,
            other => return Err(format!("unexpected option value {other:?}").into()),
        };
        writeln!(arms, "        {:?} => right({right}),", path(&method))?;
        if method.is_client_streaming() || method.is_server_streaming() {
            write!(streaming, "{:?}, ", path(&method))?;
        }
    }
    Ok(format!(
        "fn declared(path: &str) -> Option<Right> {{\n    match path {{\n{arms}        \
         _ => None,\n    }}\n}}\n\n\
         const STREAMING: &[&str] = &[{streaming}];\n"
    ))
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}
