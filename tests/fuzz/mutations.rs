//! Made-up inputs: pieces of the corpus, cut, doubled, swapped and damaged. All of it comes from
//! one seed.

use fastrand::Rng;

/// What parsers trip over.
const TOKENS: &[&[u8]] = &[
    b"",
    b"0",
    b"-1",
    b"+1",
    b"1e9",
    b"1.5",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"2147483648",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "分".as_bytes(),
    "\u{202e}".as_bytes(),
];

/// One more input, made from the others.
pub fn mutated(rng: &mut Rng, corpus: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut input = rng.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..=6) {
        step(rng, corpus, &mut input);
    }
    input.truncate(bytes_max);
    input
}

fn step(rng: &mut Rng, corpus: &[Vec<u8>], input: &mut Vec<u8>) {
    let piece = piece(rng, input.len());
    match rng.u8(0..8) {
        0 => {
            if let Some(byte) = input.get_mut(piece.start) {
                *byte ^= 1 << rng.u8(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(piece.start) {
                *byte = rng.u8(..);
            }
        }
        2 => drop(input.drain(piece)),
        3 => {
            let twice = input[piece.clone()].repeat(rng.usize(1..=3));
            drop(input.splice(piece, twice));
        }
        4 => {
            let token = *rng.choice(TOKENS).expect("there are some");
            drop(input.splice(piece, token.iter().copied()));
        }
        5 => {
            let token = *rng.choice(TOKENS).expect("there are some");
            drop(input.splice(piece.start..piece.start, token.iter().copied()));
        }
        6 => {
            let other = rng.choice(corpus).map_or(&[][..], |other| other);
            let taken = self::piece(rng, other.len());
            drop(input.splice(piece, other[taken].iter().copied()));
        }
        _ => {
            // Deep or long: what recursion and quadratic loops trip over.
            let long = input[piece.clone()].repeat(rng.usize(1..=200));
            drop(input.splice(piece, long));
        }
    }
}

/// Mostly short: a long one leaves nothing that can be understood.
fn piece(rng: &mut Rng, len: usize) -> std::ops::Range<usize> {
    let start = rng.usize(0..=len);
    let longest = if rng.u8(0..8) == 0 { len } else { 16 };
    start..(start + rng.usize(0..=longest)).min(len)
}
