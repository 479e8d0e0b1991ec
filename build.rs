//! Compiles the contract without a `protoc` on the machine, and lays what other programs need
//! beside the executable: the descriptor set and the service config.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=docs/service-config.json");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    // The error details are in the descriptor set too: a client that asks for the contract by
    // reflection can only print details that it finds there.
    compiler.open_files([
        "douyin/settlement/v1/settlement.proto",
        "douyin/settlement/v1/operator.proto",
        "google/rpc/code.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
    ])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptor_set = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptor_set.bin"), &descriptor_set)?;
    // target/<profile>/build/<package>/out
    let products = out.ancestors().nth(3).ok_or("OUT_DIR is not where cargo puts it")?;
    fs::write(products.join("settlement.binpb"), &descriptor_set)?;
    fs::copy("docs/service-config.json", products.join("service-config.json"))?;
    tonic_prost_build::configure()
        .codec_path("crate::proto::Codec")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
