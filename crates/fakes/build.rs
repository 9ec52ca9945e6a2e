//! Compiles the services that tests fake a second time: servers alone, over the messages of
//! `pentad-api`, in which each method that is not written answers UNIMPLEMENTED.

const PROTO_ROOT: &str = "../../proto";
const FAKED: [&str; 6] = [
    "pentad/chain/v1/assembly.proto",
    "pentad/chain/v1/chain.proto",
    "pentad/chain/v1/events.proto",
    "pentad/chain/v1/submit.proto",
    "pentad/peer/v1/peer.proto",
    "pentad/wallet/v1/keystore.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO_ROOT}");
    tonic_prost_build::configure()
        .build_client(false)
        .generate_default_stubs(true)
        .extern_path(".pentad", "::pentad_api")
        .include_file("services.rs")
        .compile_fds(protox::compile(FAKED, [PROTO_ROOT])?)?;
    Ok(())
}
