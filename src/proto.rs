//! The contract, compiled from `proto/`.

/// `douyin.settlement.v1`.
pub mod v1 {
    #![expect(
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated code follows its generator's style"
    )]
    tonic::include_proto!("douyin.settlement.v1");
}

/// All messages of the contract and of the error details, with comments. Reflection serves them.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));
