//! The contract as compiled from `proto/`, and how its messages become bytes.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// `douyin.settlement.v1`. Nothing is written by hand here.
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

/// What a call gets for its message, and an open watch keeps for its next one: nearly every message
/// fits. One that does not makes it grow.
const MESSAGE_BYTES: usize = 1024;
/// Messages of a stream that are ready together leave together, up to this.
const TOGETHER_BYTES_MAX: usize = 32 * 1024;

/// tonic's codec with buffers of [`MESSAGE_BYTES`]. Its own ones have 8 KiB, for each open watch.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(buffers())
    }
}

fn buffers() -> BufferSettings {
    BufferSettings::new(MESSAGE_BYTES, TOGETHER_BYTES_MAX)
}
