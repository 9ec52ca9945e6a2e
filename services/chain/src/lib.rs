//! The chain service: blocks, UTXO index, mempool, events
