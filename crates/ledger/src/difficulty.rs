//! Difficulty: aserti3-2d, as specified for Bitcoin Cash (upgrade of 2020-11-15).
//!
//! The target follows from the time and height since the anchor, genesis, alone: a block that comes
//! late by a half-life doubles it. There is no period whose ends could be pulled apart (timewarp).

use pentad_primitives::BlockHeight;
use pentad_primitives::pow::{CompactTarget, Target};
use ruint::Uint;

use crate::spec::{ChainSpec, PBFT_BITS, Pow};

/// Bits of the exponent's fraction.
const RADIX_BITS: u32 = 16;
/// One, in fixed point.
const RADIX: i128 = 1 << RADIX_BITS;
/// A target times a factor of 17 bits.
type Wide = Uint<320, 5>;

/// The target of the block that follows a parent of this height and time.
#[must_use]
pub fn next_bits(spec: &ChainSpec, parent_height: BlockHeight, parent_time: u32) -> CompactTarget {
    let Some(pow) = spec.pow() else { return PBFT_BITS };
    if pow.fixed_target {
        return pow.limit;
    }
    // Genesis is the anchor, and its parent, which does not exist, came one spacing before it.
    let genesis_time = i64::from(spec.parameters().genesis.time);
    let anchor_parent_time = genesis_time.saturating_sub(i64::from(pow.spacing));
    let time_delta = i64::from(parent_time).saturating_sub(anchor_parent_time);
    asert(pow, pow.limit, time_delta, u64::from(parent_height.get()))
}

/// aserti3-2d: the target of the next block.
///
/// `time_delta`: seconds from the anchor's parent to the parent of the next block; `height_delta`:
/// blocks from the anchor to that parent.
#[must_use]
pub fn asert(
    pow: &Pow,
    anchor_bits: CompactTarget,
    time_delta: i64,
    height_delta: u64,
) -> CompactTarget {
    // A valid spec has valid targets.
    let anchor = Target::from_compact(anchor_bits).unwrap_or(Target::MAX);
    let limit = Target::from_compact(pow.limit).unwrap_or(Target::MAX);
    let schedule =
        i128::from(height_delta).saturating_add(1).saturating_mul(i128::from(pow.spacing));
    // Division truncates towards zero, as in C++.
    let exponent = i128::from(time_delta)
        .saturating_sub(schedule)
        .saturating_mul(RADIX)
        .checked_div(i128::from(pow.half_life))
        .unwrap_or(0);
    let shifts = exponent >> RADIX_BITS;
    let fraction = exponent & (RADIX - 1);
    let factor = Wide::saturating_from(two_to_the(fraction.unsigned_abs()));
    let product = Wide::from_be_slice(&anchor.to_be_bytes()).saturating_mul(factor);
    let next = shifted(product, shifts.saturating_sub(i128::from(RADIX_BITS)));
    let ceiling = Wide::from_be_slice(&limit.to_be_bytes());
    if next > ceiling {
        return pow.limit;
    }
    let bytes = next.max(Wide::ONE).to_be_bytes::<40>();
    // `next` is no more than the limit: the first 8 of 40 bytes are zero.
    bytes.last_chunk().map_or(pow.limit, |bytes| Target::from_be_bytes(*bytes).to_compact())
}

/// 2^(fraction / 65536) in fixed point, by the cubic polynomial of the specification.
fn two_to_the(fraction: u128) -> u128 {
    let square = fraction.saturating_mul(fraction);
    let cube = square.saturating_mul(fraction);
    let polynomial = 195_766_423_245_049_u128
        .saturating_mul(fraction)
        .saturating_add(971_821_376_u128.saturating_mul(square))
        .saturating_add(5_127_u128.saturating_mul(cube))
        .saturating_add(1 << 47);
    (polynomial >> 48).saturating_add(1 << RADIX_BITS)
}

/// A number times 2^shift, rounded down; saturates.
fn shifted(number: Wide, shift: i128) -> Wide {
    let distance = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
    if shift <= 0 {
        return number.checked_shr(distance).unwrap_or_else(|| number.wrapping_shr(distance));
    }
    number.checked_shl(distance).unwrap_or(Wide::MAX)
}
