use serde::{Deserialize, Serialize};

/// One use of a key, or what bears on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, without a gap.
    pub number: u64,
    /// Unix seconds.
    pub time: u64,
    /// Number of the last entry that was durable when this one was written.
    pub durable: u64,
    /// Name of the wallet; empty where it is about none.
    pub wallet: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. Secrets are in none of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The service has opened the log.
    Opened {
        /// Version of the program.
        version: String,
    },
    /// Another file of the log begins, with the hash of the last entry before.
    Continued {
        /// That hash, hex.
        previous: String,
        /// How many entries follow that say what must be known of all before.
        carried: u64,
    },
    /// What must be known of a wallet of all entries before.
    Carried {
        /// Units that left it within a day, by minutes since 1970.
        spent: Vec<(u64, u64)>,
        /// The policy that was set last, as JSON; left out where none was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<String>,
    },
    /// A payment waits for its approver still.
    ApprovalCarried {
        /// Since when, Unix seconds.
        since: u64,
        /// Its id.
        approval: String,
        /// Why it waits.
        reason: String,
        /// The request, protobuf in hex.
        request: String,
        /// What the approver signs.
        text: String,
        /// The payment in whose place it would be made, by its transaction id; empty: none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        replaces: String,
    },
    /// What a crash had left behind the last whole entry was cut off.
    TailCut {
        /// How much.
        bytes: u64,
        /// SHA-256 of it, hex.
        sha256: String,
    },
    /// A wallet was made, with fresh keys.
    Created,
    /// A wallet was made of words.
    Restored,
    /// A wallet was made of keys from elsewhere.
    Imported {
        /// How many.
        keys: usize,
    },
    /// A wallet without keys was made.
    Watched,
    /// All that the wallet is made of was given away, sealed.
    BackedUp,
    /// The keys are in memory for a while.
    Unlocked {
        /// How long.
        seconds: u32,
    },
    /// The keys were wiped from memory, because somebody asked for it.
    Locked,
    /// Somebody gave a passphrase that does not open the wallet.
    Refused {
        /// What was asked for.
        attempt: String,
    },
    /// The words were shown.
    WordsShown,
    /// The key of an address was shown.
    KeyExported {
        /// Its address.
        address: String,
    },
    /// The wallet is sealed under another passphrase.
    PassphraseChanged,
    /// A text was signed.
    MessageSigned {
        /// Whose key signed.
        address: String,
        /// SHA-256 of the text, hex.
        sha256: String,
    },
    /// A payment was signed.
    PaymentSigned {
        /// Its transaction id, displayed hex.
        txid: String,
        /// Whom it pays, change left out.
        paid: Vec<Paid>,
        /// Units.
        fee: u64,
        /// Units that leave the wallet, the fee included; of a replacement what its fee has more.
        spent: u64,
        /// It was to be shown only, and may have been submitted all the same.
        dry_run: bool,
        /// The approval that it needed; empty: none.
        approval: String,
        /// The payment in whose place it is made, by its transaction id; empty: none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        replaces: String,
    },
    /// Inputs of a PSBT were signed.
    PsbtSigned {
        /// The wallet whose coins they are: of several, another than the one that signed.
        of: String,
        /// Its transaction id while nothing is signed, displayed hex.
        unsigned_txid: String,
        /// Which inputs.
        inputs: Vec<usize>,
        /// Whom it pays, change left out.
        paid: Vec<Paid>,
        /// Units that leave that wallet, the fee included.
        spent: u64,
    },
    /// The transaction of a PSBT that all had signed was submitted from here.
    PsbtSubmitted {
        /// Its transaction id while nothing was signed, displayed hex.
        unsigned_txid: String,
        /// Its transaction id, displayed hex.
        txid: String,
    },
    /// Another policy was put in the place of the present one. Written before it is in force.
    PolicySet {
        /// As JSON; `{}`: none.
        policy: String,
    },
    /// A payment waits for its approver.
    ApprovalRequested {
        /// Its id.
        approval: String,
        /// Why it waits.
        reason: String,
        /// The request, protobuf in hex.
        request: String,
        /// What the approver signs.
        text: String,
        /// The payment in whose place it would be made, by its transaction id; empty: none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        replaces: String,
    },
    /// The approver signed; the payment is made.
    Approved {
        /// Its id.
        approval: String,
        /// Who signed.
        approver: String,
    },
    /// A payment that waited is not made.
    Rejected {
        /// Its id.
        approval: String,
    },
}

/// A part of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// Whom; of a data output `data:` and its bytes in hex.
    pub to: String,
    /// Units.
    pub amount: u64,
}

impl Event {
    /// Its name, as it stands in the log.
    #[must_use]
    pub fn name(&self) -> String {
        self.fields()
            .remove("event")
            .and_then(|name| Some(name.as_str()?.to_owned()))
            .unwrap_or_default()
    }

    /// What is told of it beside its name, as JSON; empty where there is nothing.
    #[must_use]
    pub fn details(&self) -> String {
        let mut fields = self.fields();
        fields.remove("event");
        if fields.is_empty() {
            String::new()
        } else {
            serde_json::Value::Object(fields).to_string()
        }
    }

    fn fields(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => unreachable!("an event is a JSON object"),
        }
    }
}
