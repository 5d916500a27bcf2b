//! Compiles the public protos for the tests' own gRPC client, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../proto";
    let files: Vec<_> = std::fs::read_dir("../proto/fanfare/v1")?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    println!("cargo:rerun-if-changed=../proto/fanfare/v1");
    let fds = protox::compile(&files, [root])?;
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(fds)?;
    Ok(())
}
