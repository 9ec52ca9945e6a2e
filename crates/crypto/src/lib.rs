//! Hashes, secp256k1 keys and signatures, addresses, key derivation
