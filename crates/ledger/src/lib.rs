//! The ledger's rules: verification, fork choice, mempool, block templates
