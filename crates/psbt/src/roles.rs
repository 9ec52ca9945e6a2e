//! The roles of BIP174: creator, updater (by the fields), signer, combiner, finalizer, extractor.

use pentad_crypto::script::{Multisig, p2pkh_script_sig, script_hash};
use pentad_crypto::{PublicKey, ScriptTemplate, SecretKey, Signature, classify};
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{Hash256, Script, Transaction, TxOut};

use crate::{Input, Output, Psbt, PsbtError, RoleError};

/// What an input has to be signed by.
enum Asked<'a> {
    /// The holder of one key.
    One(&'a TxOut),
    /// Those of a redeem script.
    Several(Multisig),
}

impl Psbt {
    /// Begins with a transaction that nobody has signed.
    ///
    /// # Errors
    /// When it has a scriptSig.
    pub fn new(transaction: Transaction) -> Result<Self, PsbtError> {
        if transaction.inputs.iter().any(|input| !input.script_sig.is_empty()) {
            return Err(PsbtError::Signed);
        }
        let inputs = transaction.inputs.iter().map(|_| Input::default()).collect();
        let outputs = transaction.outputs.iter().map(|_| Output::default()).collect();
        Ok(Self { transaction, unknown: Default::default(), inputs, outputs })
    }

    /// What is signed.
    #[must_use]
    pub const fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    fn input(&self, index: usize) -> Result<&Input, RoleError> {
        self.inputs.get(index).ok_or(RoleError::NoInput(index))
    }

    /// The output that an input spends.
    ///
    /// # Errors
    /// When it is not told, or another one is.
    pub fn spent(&self, index: usize) -> Result<&TxOut, RoleError> {
        let previous = self.input(index)?.previous.as_ref().ok_or(RoleError::NoPrevious(index))?;
        let spending = self.transaction.inputs.get(index).ok_or(RoleError::NoInput(index))?;
        let outpoint = &spending.previous_output;
        // Amounts are not signed for: only the whole transaction proves them.
        if previous.txid() != outpoint.txid {
            return Err(RoleError::OtherPrevious(index));
        }
        let output = usize::try_from(outpoint.vout).ok().and_then(|at| previous.outputs.get(at));
        output.ok_or(RoleError::OtherPrevious(index))
    }

    /// Units that are left to the miner.
    ///
    /// # Errors
    /// When not all that is spent is told, or it is less than what is paid.
    pub fn fee(&self) -> Result<u64, RoleError> {
        let mut spent: u64 = 0;
        for index in 0..self.inputs.len() {
            spent = spent.saturating_add(self.spent(index)?.amount.units());
        }
        let paid = self.transaction.outputs.iter().map(|output| output.amount.units());
        let paid = paid.fold(0, u64::saturating_add);
        spent.checked_sub(paid).ok_or(RoleError::Negative)
    }

    fn asked(&self, index: usize) -> Result<Asked<'_>, RoleError> {
        let output = self.spent(index)?;
        match classify(&output.script_pubkey) {
            Some(ScriptTemplate::P2pkh(_)) => Ok(Asked::One(output)),
            Some(ScriptTemplate::P2sh(hash)) => {
                let redeem = self.input(index)?.redeem_script.as_ref();
                let redeem = redeem.ok_or(RoleError::NoRedeemScript(index))?;
                if script_hash(redeem) != hash {
                    return Err(RoleError::OtherRedeemScript(index));
                }
                let multisig = Multisig::from_redeem_script(redeem);
                Ok(Asked::Several(multisig.ok_or(RoleError::Script(index))?))
            }
            _ => Err(RoleError::Script(index)),
        }
    }

    fn hash(&self, index: usize, asked: &Asked<'_>) -> Result<Hash256, RoleError> {
        let script = match asked {
            Asked::One(output) => output.script_pubkey.clone(),
            Asked::Several(multisig) => multisig.redeem_script(),
        };
        sighash_all(&self.transaction, index, &script).ok_or(RoleError::NoInput(index))
    }

    /// Adds the signature of a key to an input.
    ///
    /// # Errors
    /// When the input does not ask for it, or is not told well enough to know.
    pub fn sign(&mut self, index: usize, key: &SecretKey) -> Result<(), RoleError> {
        let asked = self.asked(index)?;
        let public = key.public_key();
        if !asked.names(&public) {
            return Err(RoleError::OtherKey(index));
        }
        let signature = key.sign(&self.hash(index, &asked)?);
        let input = self.inputs.get_mut(index).ok_or(RoleError::NoInput(index))?;
        input.signatures.insert(public.to_bytes(), signature);
        Ok(())
    }

    /// Takes over what another copy of the same transaction has more.
    ///
    /// # Errors
    /// When it is of another transaction.
    pub fn combine(&mut self, other: Self) -> Result<(), RoleError> {
        if self.transaction != other.transaction {
            return Err(RoleError::OtherTransaction);
        }
        self.unknown.extend(other.unknown);
        for (mine, theirs) in self.inputs.iter_mut().zip(other.inputs) {
            mine.previous = mine.previous.take().or(theirs.previous);
            mine.signatures.extend(theirs.signatures);
            mine.has_sighash |= theirs.has_sighash;
            mine.redeem_script = mine.redeem_script.take().or(theirs.redeem_script);
            mine.derivations.extend(theirs.derivations);
            mine.final_script_sig = mine.final_script_sig.take().or(theirs.final_script_sig);
            mine.unknown.extend(theirs.unknown);
        }
        for (mine, theirs) in self.outputs.iter_mut().zip(other.outputs) {
            mine.redeem_script = mine.redeem_script.take().or(theirs.redeem_script);
            mine.derivations.extend(theirs.derivations);
            mine.unknown.extend(theirs.unknown);
        }
        Ok(())
    }

    /// How many have signed an input, and how many have to. Signatures of others do not count.
    ///
    /// # Errors
    /// When the input is not told well enough, or a signature is not valid.
    pub fn progress(&self, index: usize) -> Result<(usize, usize), RoleError> {
        let asked = self.asked(index)?;
        let need = match &asked {
            Asked::One(_) => 1,
            Asked::Several(multisig) => usize::from(multisig.required()),
        };
        if self.input(index)?.final_script_sig.is_some() {
            return Ok((need, need));
        }
        Ok((self.valid(index, &asked)?.len().min(need), need))
    }

    /// The signatures that count, in the order of the script's keys.
    fn valid(
        &self,
        index: usize,
        asked: &Asked<'_>,
    ) -> Result<Vec<(PublicKey, Signature)>, RoleError> {
        let signatures = &self.input(index)?.signatures;
        let hash = self.hash(index, asked)?;
        let mut valid = Vec::new();
        for key in asked.keys(signatures.keys()) {
            let Some(signature) = signatures.get(&key.to_bytes()) else {
                continue;
            };
            signature.verify(&key, &hash).map_err(|_| RoleError::Signature(index))?;
            valid.push((key, *signature));
        }
        Ok(valid)
    }

    /// Makes the scriptSig of an input, and forgets what it was made of.
    ///
    /// # Errors
    /// When signatures are missing or not valid.
    pub fn finalize(&mut self, index: usize) -> Result<(), RoleError> {
        if self.input(index)?.final_script_sig.is_some() {
            return Ok(());
        }
        let asked = self.asked(index)?;
        let valid = self.valid(index, &asked)?;
        let script = asked.script_sig(&valid).map_err(|need| RoleError::Missing {
            index,
            have: valid.len(),
            need,
        })?;
        let input = self.inputs.get_mut(index).ok_or(RoleError::NoInput(index))?;
        let (previous, unknown) = (input.previous.take(), std::mem::take(&mut input.unknown));
        *input = Input { previous, unknown, final_script_sig: Some(script), ..Input::default() };
        Ok(())
    }

    /// The transaction, signed by all.
    ///
    /// # Errors
    /// When an input is not final.
    pub fn extract(&self) -> Result<Transaction, RoleError> {
        let mut transaction = self.transaction.clone();
        for (index, (spending, input)) in
            transaction.inputs.iter_mut().zip(&self.inputs).enumerate()
        {
            let missing = RoleError::Missing { index, have: 0, need: 1 };
            spending.script_sig = input.final_script_sig.clone().ok_or(missing)?;
        }
        Ok(transaction)
    }
}

impl Asked<'_> {
    fn names(&self, key: &PublicKey) -> bool {
        match self {
            Self::One(output) => {
                classify(&output.script_pubkey) == Some(ScriptTemplate::P2pkh(key.key_hash()))
            }
            Self::Several(multisig) => multisig.keys().contains(key),
        }
    }

    /// The keys that may sign, in the order of the script; of those that did, where the script
    /// names a hash alone.
    fn keys<'a>(&self, signed: impl Iterator<Item = &'a [u8; PublicKey::LEN]>) -> Vec<PublicKey> {
        match self {
            Self::One(_) => signed
                .filter_map(|bytes| PublicKey::from_bytes(bytes).ok())
                .filter(|key| self.names(key))
                .collect(),
            Self::Several(multisig) => multisig.keys().to_vec(),
        }
    }

    /// What unlocks the output; or how many signatures it takes.
    fn script_sig(&self, valid: &[(PublicKey, Signature)]) -> Result<Script, usize> {
        match self {
            Self::One(_) => match valid {
                [(key, signature), ..] => Ok(p2pkh_script_sig(signature, key)),
                [] => Err(1),
            },
            Self::Several(multisig) => {
                let need = usize::from(multisig.required());
                let signatures: Vec<Signature> =
                    valid.iter().take(need).map(|(_, signature)| *signature).collect();
                if signatures.len() < need {
                    return Err(need);
                }
                Ok(multisig.script_sig(&signatures))
            }
        }
    }
}
