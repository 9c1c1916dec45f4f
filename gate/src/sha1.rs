//! SHA-1 while the crate is compiled. To hash 17 KB of `apply.lua` and 32 KB of `refusal_cache.lua` would take each instance
//! of the handler longer than many of its requests.

/// The SHA-1 of a text, in hexadecimal (RFC 3174).
pub(crate) const fn hexadecimal(text: &[u8]) -> [u8; 40] {
    let mut state: [u32; 5] = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    // A set bit and the length stand after the text.
    let padded = ((text.len() + 8) / 64 + 1) * 64;
    let mut at = 0;
    while at < padded {
        state = next(state, words(text, at, padded));
        at += 64;
    }
    let mut digits = [0; 40];
    let mut i = 0;
    while i < 40 {
        let digit = (state[i / 8] >> (28 - 4 * (i % 8))) & 15;
        digits[i] = b"0123456789abcdef"[digit as usize];
        i += 1;
    }
    digits
}

/// The block of 64 bytes at `at`, as 16 words.
const fn words(text: &[u8], at: usize, padded: usize) -> [u32; 16] {
    let length = text.len();
    let mut words = [0; 16];
    let mut i = at;
    while i < at + 64 {
        let byte = if i < length {
            text[i]
        } else if i == length {
            0x80
        } else if i + 8 >= padded {
            ((length as u64 * 8) >> (8 * (padded - 1 - i))) as u8
        } else {
            0
        };
        let word = (i - at) / 4;
        words[word] = (words[word] << 8) | byte as u32;
        i += 1;
    }
    words
}

/// The state after a block.
const fn next(state: [u32; 5], mut words: [u32; 16]) -> [u32; 5] {
    let [mut a, mut b, mut c, mut d, mut e] = state;
    let mut i = 0;
    while i < 80 {
        if i >= 16 {
            let mixed =
                words[(i + 13) % 16] ^ words[(i + 8) % 16] ^ words[(i + 2) % 16] ^ words[i % 16];
            words[i % 16] = mixed.rotate_left(1);
        }
        let (mixed, constant) = match i / 20 {
            0 => ((b & c) | (!b & d), 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let sum = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e);
        e = d;
        d = c;
        c = b.rotate_left(30);
        b = a;
        a = sum.wrapping_add(constant).wrapping_add(words[i % 16]);
        i += 1;
    }
    [
        state[0].wrapping_add(a),
        state[1].wrapping_add(b),
        state[2].wrapping_add(c),
        state[3].wrapping_add(d),
        state[4].wrapping_add(e),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_have_the_hash_that_others_compute() {
        const ABC: [u8; 40] = hexadecimal(b"abc");
        assert_eq!(&ABC, b"a9993e364706816aba3e25717850c26c9cd0d89d");
        for length in 0..200_u8 {
            let text: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(7)).collect();
            let expected = sha1_smol::Sha1::from(&text).hexdigest();
            assert_eq!(hexadecimal(&text), expected.as_bytes(), "{length}");
        }
    }
}
