//! SipHash-2-4 (Aumasson, Bernstein 2012): short ids that nobody can make collide who does not know
//! the key.

/// Two rounds a word, four at the end.
pub(super) fn siphash24(key: [u64; 2], bytes: &[u8; 32]) -> u64 {
    let [k0, k1] = key;
    let mut state = State([
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]);
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }
    // The length in bytes, in the last byte of a word that is otherwise empty.
    state.absorb(32 << 56);
    state.0[2] ^= 0xff;
    (0..4).for_each(|_| state.round());
    let [a, b, c, d] = state.0;
    a ^ b ^ c ^ d
}

struct State([u64; 4]);

impl State {
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        (0..2).for_each(|_| self.round());
        self.0[0] ^= word;
    }

    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the reference implementation (github.com/veorq/SipHash, vectors.h): the key is the bytes
    /// 0 to 15, the message the bytes 0 to 31.
    #[test]
    fn the_reference_vector() {
        let bytes: Vec<u8> = (0..32).collect();
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let message = bytes.try_into().expect("32 bytes");
        assert_eq!(siphash24(key, &message), 0x7127_512f_72f2_7cce);
    }

    /// As the standard library computes it, which has been held against all vectors.
    #[test]
    #[allow(deprecated, reason = "nothing else in the standard library is SipHash-2-4")]
    fn it_agrees_with_the_standard_library() {
        use std::hash::{Hasher as _, SipHasher};
        for number in 0..200_u64 {
            let key = [number.wrapping_mul(0x9e37_79b9_7f4a_7c15), !number];
            let mut message = [0; 32];
            message[..8].copy_from_slice(&key[0].to_be_bytes());
            message[24..].copy_from_slice(&number.to_be_bytes());
            let mut hasher = SipHasher::new_with_keys(key[0], key[1]);
            hasher.write(&message);
            assert_eq!(siphash24(key, &message), hasher.finish());
        }
    }
}
