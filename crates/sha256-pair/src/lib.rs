//! The ends of two double SHA-256 (FIPS 180-4) at once: what a search for a nonce computes.
//!
//! A round of SHA-256 waits for the one before, so one block keeps a CPU's SHA unit half idle; the
//! rounds of a second block fill the gaps. Where the CPU has no such unit, `sha2` compresses one
//! after the other.

#[cfg(target_arch = "x86_64")]
mod x86;

use sha2::block_api::compress256;

/// The state of SHA-256.
pub type State = [u32; 8];
/// The words of a block, read as big-endian numbers.
pub type Block = [u32; 16];

/// The state before the first block (FIPS 180-4, section 5.3.3).
pub const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
/// The word that follows a message (FIPS 180-4, section 5.1.1): a set bit, and zeros.
pub const PADDING: u32 = 0x8000_0000;
/// Bits of a hash that is hashed again.
const HASH_BITS: u32 = 256;

/// The double hashes of two messages that differ in their last block only, padded; `midstate` is
/// the state before that block.
#[must_use]
pub fn sha256d_ends(midstate: &State, ends: &[Block; 2]) -> [State; 2] {
    #[cfg(target_arch = "x86_64")]
    if x86::is_supported() {
        #[allow(unsafe_code)]
        // SAFETY: the CPU has the instructions that the function is compiled for.
        return unsafe { x86::sha256d_ends(midstate, ends) };
    }
    in_turn(midstate, ends)
}

/// As [`sha256d_ends`], by `sha2` alone.
#[must_use]
pub fn in_turn(midstate: &State, ends: &[Block; 2]) -> [State; 2] {
    ends.map(|end| {
        let inner = compress(*midstate, &end);
        compress(INITIAL, &of_hash(inner))
    })
}

/// The block of a hash that is hashed again.
#[inline]
const fn of_hash([a, b, c, d, e, f, g, h]: State) -> Block {
    [a, b, c, d, e, f, g, h, PADDING, 0, 0, 0, 0, 0, 0, HASH_BITS]
}

fn compress(mut state: State, words: &Block) -> State {
    let mut block = [0; 64];
    for (bytes, word) in block.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_be_bytes();
    }
    compress256(&mut state, &[block]);
    state
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_lanes_are_what_sha2_says(midstate: State, ends: [Block; 2]) {
            prop_assert_eq!(sha256d_ends(&midstate, &ends), in_turn(&midstate, &ends));
        }
    }

    /// Double SHA-256 of "abc", in either lane: of the published hash of FIPS 180-2, appendix B.1.
    #[test]
    fn the_published_vector() {
        let mut abc = [0; 16];
        (abc[0], abc[15]) = (0x6162_6380, 24);
        let inner = [
            0xba78_16bf,
            0x8f01_cfea,
            0x4141_40de,
            0x5dae_2223,
            0xb003_61a3,
            0x9617_7a9c,
            0xb410_ff61,
            0xf200_15ad,
        ];
        assert_eq!(compress(INITIAL, &abc), inner);
        let expected = compress(INITIAL, &of_hash(inner));
        for (ends, lane) in [([abc, [0; 16]], 0), ([[0; 16], abc], 1)] {
            assert_eq!(sha256d_ends(&INITIAL, &ends)[lane], expected);
        }
    }
}
