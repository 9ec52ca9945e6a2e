//! A validator that lies, for tests alone: `liar CHAIN_SPEC KEY_FILE GRPC COOKIE_FILE`.
//!
//! It borrows the chain and the links of a node that follows. As primary it proposes two blocks at
//! once, one to every other link; of every vote that it hears of it casts two, for the block and
//! against it; it asks for the next view whenever it can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pentad_api::Connection;
use pentad_api::chain::v1::GetTemplateRequest;
use pentad_api::chain::v1::assembly_service_client::AssemblyServiceClient;
use pentad_api::peer::v1::inbound_event::Event;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_api::peer::v1::relay_service_client::RelayServiceClient;
use pentad_api::peer::v1::{ExchangeRequest, GetSelfRequest, InboundEvent, OutboundMessage};
use pentad_crypto::SecretKey;
use pentad_ledger::ChainSpec;
use pentad_pbft::link_proof::LinkProofs;
use pentad_pbft::secp::SecpKeys;
use pentad_pbft::{
    Credentials, Message, NewView, Phase, PrePrepare, ReplicaId, Sequence, SignedPrePrepare, View,
    ViewChange, Vote,
};
use pentad_primitives::encode::Decode as _;
use pentad_primitives::hash::sha256d;
use pentad_primitives::{Block, Hash256};
use pentad_proof::Membership;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How often it looks whether there is something to propose twice.
const TICK: Duration = Duration::from_millis(100);

struct Liar {
    credentials: Credentials<SecpKeys>,
    payout: Bytes,
    chain: AssemblyServiceClient<Connection>,
    out: mpsc::Sender<ExchangeRequest>,
    links: Vec<Bytes>,
    view: View,
    lied: BTreeSet<(View, Sequence)>,
    proposed: BTreeSet<(View, u32)>,
    view_changes: BTreeMap<View, BTreeMap<ReplicaId, ViewChange>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [spec, key, grpc, cookie] = &arguments[..] else {
        panic!("liar CHAIN_SPEC KEY_FILE GRPC COOKIE_FILE");
    };
    let read = |path: &String| std::fs::read_to_string(path).expect("a readable file");
    let spec = ChainSpec::from_toml(&read(spec)).expect("a chain spec");
    let secret = hex::decode(read(key).trim()).expect("hex digits");
    let secret = SecretKey::from_bytes(secret.try_into().expect("32 bytes")).expect("a key");
    let membership = Membership::of(&spec).expect("distinct validators").expect("engine pbft");
    let validators = Arc::new(membership.validators().clone());
    let keys = SecpKeys::new(secret, Arc::clone(&validators)).expect("a validator's key");
    let own = keys.own();
    let payout = spec.pbft().expect("engine pbft").validators[usize::from(own.get())].payout;
    let connection = Connection::lazy(&format!("http://{grpc}")).expect("an address");
    let connection = connection.with_credential(read(cookie).trim()).expect("a cookie");
    let (out, requests) = mpsc::channel(64);
    let mut peer = PeerServiceClient::new(connection.clone());
    let node = peer.get_self(GetSelfRequest {}).await.expect("the node's peer service");
    let static_key = hex::decode(node.into_inner().static_key).expect("hex digits");
    let (chain, keys_of_all) = (membership.domain().chain, Arc::clone(membership.validators()));
    let proofs = LinkProofs { keys: keys.clone(), validators: keys_of_all, chain };
    let proof = proofs.make(&static_key).expect("a validator's proof").into();
    let shown = ExchangeRequest { validator_proof: proof, ..Default::default() };
    out.send(shown).await.expect("room for the first");
    let mut liar = Liar {
        credentials: Credentials {
            own,
            domain: *membership.domain(),
            quorum: validators.quorum(),
            keys,
        },
        payout: payout.script_pubkey().as_bytes().to_vec().into(),
        chain: AssemblyServiceClient::new(connection.clone()),
        out,
        links: Vec::new(),
        view: View::ZERO,
        lied: BTreeSet::new(),
        proposed: BTreeSet::new(),
        view_changes: BTreeMap::new(),
    };
    let mut relay = RelayServiceClient::new(connection);
    let exchange = relay.exchange(ReceiverStream::new(requests)).await;
    let mut events = exchange.expect("the node's relay service").into_inner();
    let mut ticks = tokio::time::interval(TICK);
    println!("lying");
    loop {
        tokio::select! {
            answer = events.message() => {
                let Ok(Some(answer)) = answer else { return };
                for event in answer.events {
                    liar.on_event(event).await;
                }
            }
            _ = ticks.tick() => liar.propose_twice().await,
        }
    }
}

impl Liar {
    async fn on_event(&mut self, event: InboundEvent) {
        match event.event {
            // A link is opened again when it shows another proof.
            Some(Event::Opened(_)) if self.links.contains(&event.link) => {}
            Some(Event::Opened(_)) => self.links.push(event.link),
            Some(Event::Closed(_)) => self.links.retain(|link| *link != event.link),
            Some(Event::Payload(payload)) => match Message::from_bytes(&payload) {
                Ok(Message::PrePrepare(PrePrepare { signed, .. })) => {
                    self.vote_twice(signed.view, signed.sequence, signed.digest).await;
                }
                Ok(Message::Prepare(vote) | Message::Commit(vote)) => {
                    self.vote_twice(vote.view, vote.sequence, vote.digest).await;
                }
                Ok(Message::ViewChange(message)) => self.on_view_change(message).await,
                Ok(Message::NewView(message)) => self.view = self.view.max(message.view),
                _ => {}
            },
            None => {}
        }
    }

    /// Both votes of both phases, in another order for every other link.
    async fn vote_twice(&mut self, view: View, sequence: Sequence, digest: Hash256) {
        if !self.lied.insert((view, sequence)) {
            return;
        }
        let other = sha256d(digest.as_bytes());
        for (index, link) in self.links.clone().into_iter().enumerate() {
            let digests = if index % 2 == 0 { [digest, other] } else { [other, digest] };
            for digest in digests {
                for phase in [Phase::Prepare, Phase::Commit] {
                    let vote = Vote::sign(&self.credentials, phase, view, sequence, digest);
                    let message = match phase {
                        Phase::Prepare => Message::Prepare(vote),
                        Phase::Commit => Message::Commit(vote),
                    };
                    self.send(&message, link.clone()).await;
                }
            }
        }
        if let Some(next) = view.next() {
            self.want(next).await;
        }
    }

    /// Asks for a view, as if it held nothing.
    async fn want(&mut self, view: View) {
        let own = ViewChange::sign(&self.credentials, view, None, Vec::new());
        self.send(&Message::ViewChange(own), Bytes::new()).await;
    }

    /// A NEW-VIEW with nothing wrong in it, so that its proposals are looked at.
    async fn on_view_change(&mut self, message: ViewChange) {
        let view = message.view;
        let quorum = self.credentials.quorum;
        if view <= self.view || quorum.primary(view) != self.credentials.own {
            return;
        }
        let held = self.view_changes.entry(view).or_default();
        held.insert(message.sender, message);
        let own = ViewChange::sign(&self.credentials, view, None, Vec::new());
        held.insert(own.sender, own);
        if held.len() >= quorum.quorum() {
            let chosen = held.values().take(quorum.quorum()).cloned().collect();
            let new_view = NewView::sign(&self.credentials, view, chosen);
            self.view = view;
            self.send(&Message::NewView(new_view), Bytes::new()).await;
        }
    }

    /// As primary: two blocks for one sequence.
    async fn propose_twice(&mut self) {
        if self.credentials.quorum.primary(self.view) != self.credentials.own {
            return;
        }
        let mut proposals = Vec::new();
        for extra_nonce in [1, 2] {
            let payout_script = self.payout.clone();
            let request = GetTemplateRequest { payout_script, extra_nonce };
            let Ok(template) = self.chain.get_template(request).await else { return };
            let template = template.into_inner();
            if template.transactions == 0 || self.proposed.contains(&(self.view, template.height)) {
                return;
            }
            proposals.push((template.height, template.block));
        }
        for (index, link) in self.links.clone().into_iter().enumerate() {
            let (height, body) = &proposals[index % 2];
            self.proposed.insert((self.view, *height));
            let header = Block::from_bytes(body).expect("the chain's own block").header;
            let (digest, parent) = (header.block_hash(), header.prev_block_hash);
            let signed = SignedPrePrepare::sign(
                &self.credentials,
                self.view,
                Sequence::new(u64::from(*height)),
                Hash256::from_bytes(digest.to_bytes()),
                Hash256::from_bytes(parent.to_bytes()),
            );
            let message = PrePrepare { signed, body: body.to_vec().into() };
            self.send(&Message::PrePrepare(message), link).await;
        }
    }

    async fn send(&self, message: &Message, link: Bytes) {
        let payload = message.to_bytes().into();
        let message = OutboundMessage { payload, link, ..OutboundMessage::default() };
        // The node is gone, and so will this be.
        let messages = vec![message];
        self.out.send(ExchangeRequest { messages, ..Default::default() }).await.ok();
    }
}
