//! Messages of the consensus protocol, from one replica's service to another's.

use pentad_api::peer::v1::inbound_event::Event;
use pentad_api::peer::v1::relay_service_client::RelayServiceClient;
use pentad_api::peer::v1::relay_service_server::RelayServiceServer;
use pentad_service_kit::sized;
use pentad_wire::consensus::PAYLOAD_MAX;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::*;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A consensus service, played by a test.
struct Replica {
    requests: mpsc::Sender<proto::ExchangeRequest>,
    responses: Streaming<proto::ExchangeResponse>,
    events: Vec<proto::InboundEvent>,
}

impl Replica {
    async fn attach(node: &Node) -> Self {
        let server = sized!(RelayServiceServer::new(node.peer.relay.clone()));
        let connection = Connection::in_process(Routes::new(server));
        let (requests, receiver) = mpsc::channel(16);
        let mut client = sized!(RelayServiceClient::new(connection));
        let responses = client.exchange(ReceiverStream::new(receiver)).await.expect("a stream");
        Self { requests, responses: responses.into_inner(), events: Vec::new() }
    }

    async fn send(&self, payload: impl Into<Bytes>, link: &Bytes) {
        let message = proto::OutboundMessage {
            payload: payload.into(),
            link: link.clone(),
            traceparent: TRACEPARENT.to_owned(),
            transaction_traces: Bytes::from_static(&[7; 24]),
        };
        let messages = vec![message];
        self.request(proto::ExchangeRequest { messages, ..Default::default() }).await;
    }

    async fn request(&self, request: proto::ExchangeRequest) {
        self.requests.send(request).await.expect("the stream is open");
    }

    async fn broadcast(&self, payload: impl Into<Bytes>) {
        self.send(payload, &Bytes::new()).await;
    }

    async fn next(&mut self) -> Result<proto::InboundEvent, Status> {
        while self.events.is_empty() {
            let receiving = timeout(DEADLINE, self.responses.message());
            let response = receiving.await.expect("something happens")?;
            self.events = response.expect("the stream goes on").events;
        }
        Ok(self.events.remove(0))
    }

    /// The next event, which opens a link to `node`.
    async fn opened(&mut self, node: &Node) -> Bytes {
        let event = self.next().await.expect("an event");
        let Some(Event::Opened(opened)) = event.event else { panic!("{event:?}") };
        assert_eq!(opened.static_key[..], node.peer.api.key.as_bytes()[..]);
        event.link
    }

    /// The next event, which is a message.
    async fn payload(&mut self) -> (Bytes, Bytes) {
        let event = self.next().await.expect("an event");
        let Some(Event::Payload(payload)) = event.event else { panic!("{event:?}") };
        assert_eq!(event.traceparent, TRACEPARENT, "the trace is cut");
        (event.link, payload)
    }

    async fn closed(&mut self, link: &Bytes) {
        let event = self.next().await.expect("an event");
        assert_eq!((&event.link, event.event), (link, Some(Event::Closed(proto::LinkClosed {}))));
    }
}

/// Nothing but what is said at once tells of anything.
fn patient() -> PeerConfig {
    PeerConfig { heartbeat_ms: 3_600_000, outbound_max: 0, ..config() }
}

async fn pair() -> [Node; 2] {
    let anna = Node::start_with(FakeChain::new("test"), patient()).await;
    let bert = Node::start_with(FakeChain::new("test"), patient()).await;
    anna.add(&bert).await;
    until_linked(&anna, &bert).await;
    [anna, bert]
}

#[tokio::test]
async fn messages_reach_all_replicas_and_answers_the_one_that_asked() {
    let [anna, bert] = pair().await;
    let mut at_anna = Replica::attach(&anna).await;
    let mut at_bert = Replica::attach(&bert).await;
    // The link was open before: both learn of it at once all the same.
    let to_bert = at_anna.opened(&bert).await;
    let to_anna = at_bert.opened(&anna).await;
    at_anna.broadcast("prepare").await;
    let (link, payload) = at_bert.payload().await;
    assert_eq!((&link, &payload[..]), (&to_anna, &b"prepare"[..]));
    at_bert.send("commit", &link).await;
    let (link, payload) = at_anna.payload().await;
    assert_eq!((link, &payload[..]), (to_bert, &b"commit"[..]));
    // A proposal of the largest size.
    let proposal = Bytes::from(vec![7; PAYLOAD_MAX]);
    at_anna.broadcast(proposal.clone()).await;
    assert_eq!(at_bert.payload().await, (to_anna, proposal));
}

/// A link that opens later, between nodes that both take part already.
#[tokio::test]
async fn the_capability_is_part_of_the_handshake() {
    let anna = Node::start_with(FakeChain::new("test"), patient()).await;
    let bert = Node::start_with(FakeChain::new("test"), patient()).await;
    let mut at_anna = Replica::attach(&anna).await;
    let mut at_bert = Replica::attach(&bert).await;
    anna.add(&bert).await;
    at_anna.opened(&bert).await;
    let link = at_bert.opened(&anna).await;
    at_anna.broadcast("prepare").await;
    assert_eq!(at_bert.payload().await, (link, Bytes::from_static(b"prepare")));
}

#[tokio::test]
async fn messages_are_not_passed_on() {
    let [anna, bert] = pair().await;
    let carl = Node::start_with(FakeChain::new("test"), patient()).await;
    bert.add(&carl).await;
    until_linked(&bert, &carl).await;
    let mut at_anna = Replica::attach(&anna).await;
    let mut at_bert = Replica::attach(&bert).await;
    let mut at_carl = Replica::attach(&carl).await;
    at_anna.opened(&bert).await;
    at_carl.opened(&bert).await;
    at_anna.broadcast("of anna").await;
    let mut received = Vec::new();
    while !received.contains(&Bytes::from_static(b"of anna")) {
        let event = at_bert.next().await.expect("an event").event;
        received.extend(event.and_then(|event| match event {
            Event::Payload(payload) => Some(payload),
            Event::Opened(_) | Event::Closed(_) => None,
        }));
    }
    at_bert.broadcast("of bert").await;
    assert_eq!(at_carl.payload().await.1, "of bert", "what came from elsewhere was passed on");
}

#[tokio::test]
async fn a_replica_that_leaves_is_noticed_on_the_link_that_stays() {
    let [anna, bert] = pair().await;
    let mut at_anna = Replica::attach(&anna).await;
    let at_bert = Replica::attach(&bert).await;
    let link = at_anna.opened(&bert).await;
    drop(at_bert);
    at_anna.closed(&link).await;
    let mut at_bert = Replica::attach(&bert).await;
    assert_eq!(at_anna.opened(&bert).await, link);
    at_bert.opened(&anna).await;
    assert!(anna.is_linked_to(&bert).await);
    bert.stop().await;
    at_anna.closed(&link).await;
}

#[tokio::test]
async fn a_second_stream_takes_the_place_of_the_first() {
    let [anna, bert] = pair().await;
    let mut at_bert = Replica::attach(&bert).await;
    let mut first = Replica::attach(&anna).await;
    first.opened(&bert).await;
    let link = at_bert.opened(&anna).await;
    let mut second = Replica::attach(&anna).await;
    let status = first.next().await.expect_err("replaced");
    assert_eq!(status.code(), Code::Aborted, "{status}");
    drop(first);
    second.opened(&bert).await;
    second.broadcast("prepare").await;
    // To the other side nothing has changed.
    assert_eq!(at_bert.payload().await, (link, Bytes::from_static(b"prepare")));
}

#[tokio::test]
async fn what_cannot_be_relayed_is_refused() {
    let node = Node::start("test", &[]).await;
    for (payload, link) in [
        (Bytes::new(), Bytes::new()),
        (vec![0; PAYLOAD_MAX + 1].into(), Bytes::new()),
        (Bytes::from_static(b"x"), Bytes::from_static(b"link")),
    ] {
        let mut replica = Replica::attach(&node).await;
        replica.send(payload, &link).await;
        let status = replica.next().await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    // To a link that is gone: nobody is there to tell.
    let replica = Replica::attach(&node).await;
    replica.send("late", &Bytes::from_static(&[0; 8])).await;
    replica.broadcast("to nobody").await;
}

#[tokio::test]
async fn malformed_messages_ban_and_those_nobody_takes_do_not() {
    let anna = Node::start("test", &[]).await;
    let mut early = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    early.send(&consensus(b"nobody is attached")).await;
    until("it is dropped", async || anna.peer.relay.exchange.dropped() == 1).await;
    let mut replica = Replica::attach(&anna).await;
    let opened = replica.next().await.expect("an event");
    // It did not announce the capability, and sent a message all the same: this says as much.
    early.send(&consensus(b"vote")).await;
    let vote = replica.next().await.expect("an event");
    assert_eq!(vote.link, opened.link);
    assert_eq!(vote.event, Some(Event::Payload(Bytes::from_static(b"vote"))));
    for payload in [Bytes::new(), vec![0; PAYLOAD_MAX + 1].into()] {
        let stranger = Stranger::new(&anna.chain, "test");
        let mut session = stranger.connect(anna.address).await;
        session.send_in(Class::Bulk, &Message::Consensus { payload, traces: Bytes::new() }).await;
        session.end().await;
        let mut again = stranger.connect(anna.address).await;
        assert_eq!(again.end().await.as_deref(), Some("BANNED"));
    }
}

/// Attack 36: a replica that does not read loses the oldest messages, and nobody waits for it.
#[tokio::test]
async fn a_slow_replica_loses_messages_and_others_get_them() {
    let [anna, bert] = pair().await;
    let slow = Stranger { consensus: Some(Bytes::new()), ..Stranger::new(&anna.chain, "test") };
    let slow = slow.connect(anna.address).await;
    let mut at_bert = Replica::attach(&bert).await;
    let at_anna = Replica::attach(&anna).await;
    at_bert.opened(&anna).await;
    until("both are there", async || anna.peers().await.len() == 2).await;
    let proposal = Bytes::from(vec![7; 4 << 20]);
    for round in 0..12_u8 {
        at_anna.broadcast(proposal.clone()).await;
        at_anna.broadcast(vec![round; 100]).await;
        let mut received = [at_bert.payload().await.1, at_bert.payload().await.1];
        received.sort_by_key(Bytes::len);
        assert_eq!(received, [vec![round; 100], proposal.to_vec()], "in round {round}");
    }
    assert!(anna.peer.relay.exchange.dropped() > 0);
    drop(slow);
}

/// Who only says that it takes part gets nothing, once the consensus service has looked at it.
#[tokio::test]
async fn what_is_no_replica_gets_and_brings_no_messages() {
    let [anna, bert] = pair().await;
    let mut at_anna = Replica::attach(&anna).await;
    let proof = Bytes::from_static(b"the key and signature of anna");
    let validator_proof = proof.clone();
    at_anna.request(proto::ExchangeRequest { validator_proof, ..Default::default() }).await;
    let mut at_bert = Replica::attach(&bert).await;
    let to_bert = at_anna.opened(&bert).await;
    // It may be told first without, and then with the proof.
    let mut to_anna = Bytes::new();
    let mut shown = Bytes::new();
    while shown.is_empty() {
        let event = at_bert.next().await.expect("an event");
        let Some(Event::Opened(opened)) = event.event else { panic!("{event:?}") };
        assert_eq!(opened.static_key[..], anna.peer.api.key.as_bytes()[..]);
        (to_anna, shown) = (event.link, opened.validator_proof);
    }
    assert_eq!(shown, proof);
    let judge = |link: &Bytes, is_replica| {
        let standings = vec![proto::LinkStanding { link: link.clone(), is_replica }];
        proto::ExchangeRequest { standings, ..Default::default() }
    };
    // To anna, bert is nobody; to bert, anna is a replica.
    at_anna.request(judge(&to_bert, false)).await;
    at_bert.request(judge(&to_anna, true)).await;
    until("bert is nobody", async || anna.peers().await.iter().all(|peer| !peer.consensus)).await;
    at_anna.broadcast("for replicas").await;
    at_bert.broadcast("of nobody").await;
    until("what it sends is dropped", async || anna.peer.relay.exchange.dropped() == 1).await;
    at_anna.request(judge(&to_bert, true)).await;
    until("bert is a replica", async || anna.peers().await.iter().all(|it| it.consensus)).await;
    at_anna.broadcast("welcome").await;
    assert_eq!(at_bert.payload().await, (to_anna, Bytes::from_static(b"welcome")));
}

/// A node of a validator, its consensus service, and another validator that is linked to it.
async fn with_fellow(chain: FakeChain) -> (Node, Replica, Session) {
    let anna = Node::start_with(chain, patient()).await;
    let mut at_anna = Replica::attach(&anna).await;
    let stranger = Stranger { consensus: Some(Bytes::new()), ..Stranger::new(&anna.chain, "test") };
    let mut fellow = stranger.connect(anna.address).await;
    let event = at_anna.next().await.expect("an event");
    assert!(matches!(event.event, Some(Event::Opened(_))), "{event:?}");
    let standings = vec![proto::LinkStanding { link: event.link, is_replica: true }];
    at_anna.request(proto::ExchangeRequest { standings, ..Default::default() }).await;
    // Behind that, on the same stream.
    at_anna.broadcast("prepare").await;
    while !matches!(fellow.receive().await.expect("the link is open"), Message::Consensus { .. }) {}
    (anna, at_anna, fellow)
}

/// Where work makes the blocks, those who make them final do not have them from that.
#[tokio::test]
async fn blocks_of_work_are_pushed_to_those_who_make_them_final_too() {
    let (anna, _at_anna, mut fellow) = with_fellow(FakeChain::hybrid("test")).await;
    anna.chain.mine(1, 1, 1000);
    let tip = anna.chain.tip();
    loop {
        match fellow.receive().await.expect("the link is open") {
            Message::Block { hash, .. } => break assert_eq!(hash, tip),
            Message::Handshake(handshake) => {
                assert_ne!(handshake.claim.tip, tip, "told before it is pushed");
            }
            _ => {}
        }
    }
}

/// Those who agree on blocks have them from that; they are told where this node stands all the
/// same, so that one that missed something fetches it. All others are sent every block.
#[tokio::test]
async fn blocks_are_pushed_to_followers_and_not_to_those_who_agree_on_them() {
    let (anna, _at_anna, mut fellow) = with_fellow(FakeChain::new("test")).await;
    let mut follower = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    until("both are peers", async || anna.peers().await.len() == 2).await;
    anna.chain.mine(1, 1, 1000);
    let tip = anna.chain.tip();
    loop {
        if let Message::Block { hash, .. } = follower.receive().await.expect("the link is open") {
            break assert_eq!(hash, tip);
        }
    }
    loop {
        match fellow.receive().await.expect("the link is open") {
            Message::Block { hash, .. } => panic!("{hash} was pushed"),
            Message::Handshake(handshake) if handshake.claim.tip == tip => break,
            _ => {}
        }
    }
}
