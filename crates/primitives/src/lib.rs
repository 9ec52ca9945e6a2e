//! Amounts, hashes, transactions, blocks, merkle trees and Bitcoin encoding
