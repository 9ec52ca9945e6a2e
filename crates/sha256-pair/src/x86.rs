//! By the SHA extensions of x86-64, with the rounds of both blocks in turns.
//!
//! Not a line here is unsafe: only whoever calls it has to know that the CPU can do it.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32,
};

use super::{Block, INITIAL, State, of_hash};

/// The constants of the rounds (FIPS 180-4, section 4.2.2), four to a group.
const K: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];
/// Groups whose words the rest of the message schedule is made of.
const SCHEDULING: usize = 12;

/// Whether the CPU has the instructions that [`sha256d_ends`] is made of.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// One of the two blocks: the state as the instructions take it, and the next words of the message
/// schedule.
#[derive(Clone, Copy)]
struct Lane {
    abef: __m128i,
    cdgh: __m128i,
    words: [__m128i; 4],
}

#[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
pub(super) fn sha256d_ends(midstate: &State, ends: &[Block; 2]) -> [State; 2] {
    let [first, second] = compress(midstate, ends);
    compress(&INITIAL, &[of_hash(first), of_hash(second)])
}

/// Compresses each of two blocks into one state.
#[inline]
#[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
fn compress(state_before: &State, [first_block, second_block]: &[Block; 2]) -> [State; 2] {
    let before = [lane(state_before, first_block), lane(state_before, second_block)];
    let mut lanes = before;
    for (group, constants) in K.iter().enumerate() {
        let constants = packed(*constants);
        for lane in &mut lanes {
            let [w0, w1, w2, w3] = lane.words;
            let sums = _mm_add_epi32(w0, constants);
            lane.cdgh = _mm_sha256rnds2_epu32(lane.cdgh, lane.abef, sums);
            let sums = _mm_shuffle_epi32::<0b1110>(sums);
            lane.abef = _mm_sha256rnds2_epu32(lane.abef, lane.cdgh, sums);
            let next = if group < SCHEDULING {
                let sum = _mm_alignr_epi8::<4>(w3, w2);
                let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), sum);
                _mm_sha256msg2_epu32(sum, w3)
            } else {
                w3
            };
            lane.words = [w1, w2, w3, next];
        }
    }
    let [first, second] = lanes;
    let [first_before, second_before] = before;
    [state(&first, &first_before), state(&second, &second_before)]
}

#[inline]
#[target_feature(enable = "sse2")]
fn lane([a, b, c, d, e, f, g, h]: &State, block: &Block) -> Lane {
    let [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15] = *block;
    let words = [
        packed([w0, w1, w2, w3]),
        packed([w4, w5, w6, w7]),
        packed([w8, w9, w10, w11]),
        packed([w12, w13, w14, w15]),
    ];
    Lane { abef: packed([*f, *e, *b, *a]), cdgh: packed([*h, *g, *d, *c]), words }
}

/// The state after a block: what it was before, added.
#[inline]
#[target_feature(enable = "sse2,sse4.1")]
fn state(lane: &Lane, before: &Lane) -> State {
    let [f, e, b, a] = unpacked(_mm_add_epi32(lane.abef, before.abef));
    let [h, g, d, c] = unpacked(_mm_add_epi32(lane.cdgh, before.cdgh));
    [a, b, c, d, e, f, g, h]
}

/// The first number in the lowest place.
#[inline]
#[target_feature(enable = "sse2")]
fn packed(numbers: [u32; 4]) -> __m128i {
    let [a, b, c, d] = numbers.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}

#[inline]
#[target_feature(enable = "sse2,sse4.1")]
fn unpacked(numbers: __m128i) -> [u32; 4] {
    let places = [
        _mm_extract_epi32::<0>(numbers),
        _mm_extract_epi32::<1>(numbers),
        _mm_extract_epi32::<2>(numbers),
        _mm_extract_epi32::<3>(numbers),
    ];
    places.map(i32::cast_unsigned)
}
