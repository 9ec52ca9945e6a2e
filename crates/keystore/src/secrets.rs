use pentad_crypto::SecretKey;
use zeroize::Zeroizing;

/// Kind of a secret: BIP39 entropy. Later kinds get other numbers; unknown ones are refused.
const KIND_ENTROPY: u8 = 1;
/// Kind of a secret: a private key that was imported, 32 bytes.
const KIND_KEY: u8 = 2;

/// What a wallet file keeps sealed: items of kind, length, bytes.
pub(crate) enum Secrets {
    /// Of which all keys of the wallet are derived.
    Entropy(Zeroizing<Vec<u8>>),
    /// Keys that were imported, in the order of the public ones.
    Keys(Vec<SecretKey>),
}

impl Secrets {
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Entropy(entropy) => {
                let length = u8::try_from(entropy.len()).expect("BIP39 entropy has 32 bytes");
                let mut bytes = Zeroizing::new(Vec::with_capacity(2 + entropy.len()));
                bytes.extend_from_slice(&[KIND_ENTROPY, length]);
                bytes.extend_from_slice(entropy);
                bytes
            }
            Self::Keys(keys) => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(34 * keys.len()));
                for key in keys {
                    bytes.extend_from_slice(&[KIND_KEY, 32]);
                    bytes.extend_from_slice(&*key.to_bytes());
                }
                bytes
            }
        }
    }

    /// `None` when the bytes are not what [`Secrets::to_bytes`] makes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [KIND_ENTROPY, length, entropy @ ..] if usize::from(*length) == entropy.len() => {
                Some(Self::Entropy(Zeroizing::new(entropy.to_vec())))
            }
            [KIND_KEY, ..] => {
                let key = |item: &[u8]| match item {
                    [KIND_KEY, 32, key @ ..] => SecretKey::from_bytes(key.try_into().ok()?).ok(),
                    _ => None,
                };
                Some(Self::Keys(bytes.chunks(34).map(key).collect::<Option<_>>()?))
            }
            _ => None,
        }
    }
}
