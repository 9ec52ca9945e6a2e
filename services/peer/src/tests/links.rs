//! Links are opened, refused, replaced and opened again.

use pentad_wire::handshake::Reason;
use tonic::Code;

use super::*;

#[tokio::test]
async fn two_nodes_connect_and_know_each_other() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(3, 0, 100);
    let bert = Node::start("test", &[&anna]).await;
    until_linked(&anna, &bert).await;
    until("a heartbeat and its answer", async || {
        bert.peers().await.iter().all(|peer| peer.round_trip_us > 0 && peer.height == 3)
    })
    .await;
    let [peer] = &bert.peers().await[..] else { panic!("one peer") };
    assert_eq!(peer.address, anna.address.to_string());
    assert_eq!(peer.direction(), proto::Direction::Outbound);
    assert_eq!(
        (peer.chain_work.as_str(), peer.misbehavior, peer.added),
        (work_hex(3).as_str(), 0, false)
    );
    assert!(peer.bytes_sent > 0 && peer.bytes_received > 0);
    assert_eq!(peer.tip, anna.chain.tip().to_string());
    let [peer] = &anna.peers().await[..] else { panic!("one peer") };
    assert_eq!(peer.direction(), proto::Direction::Inbound);
    let own = anna.client().get_self(proto::GetSelfRequest {}).await.expect("ok").into_inner();
    assert_eq!(own.listen_address, anna.address.to_string());
    assert_eq!(own.static_key, anna.peer.api.key.to_string());
    assert_eq!(own.node_id.len(), 40);
    anna.stop().await;
    until("the farewell is understood", async || bert.peers().await.is_empty()).await;
}

fn work_hex(height: u8) -> String {
    let mut bytes = [0; 32];
    bytes[31] = height;
    Work::from_be_bytes(bytes).to_string()
}

/// Attack 46.
#[tokio::test]
async fn another_network_is_refused_with_the_reason() {
    let anna = Node::start("test", &[]).await;
    let bert = Node::start("other", &[&anna]).await;
    let stranger = Stranger::new(&anna.chain, "other");
    let mut session = stranger.connect(anna.address).await;
    assert_eq!(session.end().await.as_deref(), Some("WRONG_NETWORK"));
    let stranger = Stranger::new(&bert.chain, "test");
    let mut session = stranger.connect(anna.address).await;
    assert_eq!(session.end().await.as_deref(), Some("WRONG_GENESIS"));
    let mut newer = Stranger::new(&anna.chain, "test");
    newer.hello.versions = 7..=9;
    let mut session = newer.connect(anna.address).await;
    assert_eq!(session.end().await.as_deref(), Some("UNSUPPORTED_VERSION"));
    assert!(anna.peers().await.is_empty() && bert.peers().await.is_empty());
    let carl = Node::start("test", &[&anna]).await;
    until_linked(&anna, &carl).await;
}

/// Attack 46.
#[tokio::test]
async fn a_node_does_not_become_its_own_peer() {
    let anna = Node::start("test", &[]).await;
    anna.add(&anna).await;
    let bert = Node::start("test", &[&anna]).await;
    until_linked(&anna, &bert).await;
    assert!(!anna.is_linked_to(&anna).await);
}

#[tokio::test]
async fn of_simultaneous_dials_one_link_stays() {
    for _ in 0..5 {
        let anna = Node::start("test", &[]).await;
        let bert = Node::start("test", &[]).await;
        tokio::join!(anna.add(&bert), bert.add(&anna));
        until_linked(&anna, &bert).await;
        // Which one stays is tabled in pentad-wire; here both ends must mean the same one.
        let one_stays = async || {
            let (of_anna, of_bert) = (anna.peers().await, bert.peers().await);
            let ([at_anna], [at_bert]) = (&of_anna[..], &of_bert[..]) else {
                return false;
            };
            at_anna.direction() != at_bert.direction() && at_anna.round_trip_us > 0
        };
        until("one link", one_stays).await;
    }
}

#[tokio::test]
async fn a_second_link_of_the_same_side_is_refused() {
    let anna = Node::start("test", &[]).await;
    let stranger = Stranger::new(&anna.chain, "test");
    let mut first = stranger.connect(anna.address).await;
    until("a peer", async || anna.peers().await.len() == 1).await;
    let mut second = stranger.connect(anna.address).await;
    assert_eq!(second.end().await.as_deref(), Some("DUPLICATE"));
    // A new process under the same key is another matter: the old one must be gone.
    let restarted =
        Stranger { identity: stranger.identity.clone(), ..Stranger::new(&anna.chain, "test") };
    let _third = restarted.connect(anna.address).await;
    assert_eq!(first.end().await.as_deref(), Some("DUPLICATE"));
    until("one peer", async || anna.peers().await.len() == 1).await;
}

#[tokio::test]
async fn links_come_back_after_a_restart() {
    let anna = Node::start("test", &[]).await;
    let bert = Node::start("test", &[]).await;
    bert.add(&anna).await;
    until_linked(&anna, &bert).await;
    assert!(bert.peers().await.iter().all(|peer| peer.added));
    let (directory, chain, address) =
        (Arc::clone(&anna.directory), anna.chain.clone(), anna.address);
    let key = anna.peer.api.key;
    anna.stop().await;
    let again = PeerConfig { listen: address, ..config() };
    let anna = Node::start_in(directory, chain, again).await;
    assert_eq!(anna.peer.api.key, key, "the key is kept");
    until_linked(&anna, &bert).await;
    // And the one that dialled restarts: it remembers whom it was told to dial.
    let (directory, chain) = (Arc::clone(&bert.directory), bert.chain.clone());
    bert.stop().await;
    let bert = Node::start_in(directory, chain, config()).await;
    until_linked(&anna, &bert).await;
}

#[tokio::test]
async fn peers_are_added_and_removed_by_hand() {
    let anna = Node::start("test", &[]).await;
    let bert = Node::start("test", &[]).await;
    bert.add(&anna).await;
    until_linked(&anna, &bert).await;
    let address = anna.address.to_string();
    let remove = |address: &str| proto::RemovePeerRequest { address: address.to_owned() };
    bert.client().remove_peer(remove(&address)).await.expect("removed");
    until("no link", async || bert.peers().await.is_empty() && anna.peers().await.is_empty()).await;
    let status = bert.client().remove_peer(remove(&address)).await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);
    let add = proto::AddPeerRequest { address: "nowhere".to_owned() };
    let status = bert.client().add_peer(add).await.expect_err("malformed");
    assert_eq!(status.code(), Code::InvalidArgument);
    let lookup = proto::LookupRequest { node_id: "xyz".to_owned() };
    let status = bert.client().lookup(lookup).await.expect_err("malformed");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn nodes_find_each_other_through_a_common_one() {
    let hub = Node::start("test", &[]).await;
    let anna = Node::start("test", &[&hub]).await;
    let bert = Node::start("test", &[&hub]).await;
    until_linked(&anna, &bert).await;
    let table = anna.client().get_routing_table(proto::GetRoutingTableRequest {}).await;
    assert!(!table.expect("ok").into_inner().contacts.is_empty());
    let found = anna.client().lookup(proto::LookupRequest::default()).await.expect("ok");
    assert!(!found.into_inner().contacts.is_empty());
}

#[tokio::test]
async fn a_node_behind_nat_names_the_port_at_which_others_reach_it() {
    let advertise = Some("203.0.113.4:4321".parse().expect("an address"));
    for (advertise, expected) in [(None, None), (advertise, Some(4321))] {
        let config = PeerConfig { advertise, ..config() };
        let anna = Node::start_with(FakeChain::new("test"), config).await;
        let stranger = Stranger::new(&anna.chain, "test");
        let stream = TcpStream::connect(anna.address).await.expect("it listens");
        let mut session = stranger.noise(stream, Direction::Outbound).await;
        let first = session.receive().await.expect("a handshake");
        let Message::Handshake(handshake) = first else { panic!("{first:?}") };
        assert_eq!(handshake.listen_port, expected.or(Some(anna.address.port())));
    }
}

/// Attack 41: the address table is kept honest, at no cost for those who are looked at.
#[tokio::test]
async fn a_feeler_looks_who_is_at_an_address_and_takes_no_slot() {
    let config = PeerConfig { feeler_seconds: 1, outbound_max: 0, ..config() };
    let anna = Node::start_with(FakeChain::new("test"), config).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let named = Stranger { listen_port: Some(port), ..Stranger::new(&anna.chain, "test") };
    let session = named.connect(anna.address).await;
    until("a peer", async || anna.peers().await.len() == 1).await;
    drop(session);
    let (stream, _) = timeout(DEADLINE, listener.accept()).await.expect("a feeler").expect("open");
    let mut session = named.noise(stream, Direction::Inbound).await;
    session.send(&Message::Handshake(named.handshake())).await;
    let first = session.receive().await.expect("a farewell in place of a handshake");
    let Message::Goodbye { reason, .. } = first else { panic!("{first:?}") };
    assert_eq!(reason, "FEELER");
    drop(session);

    // And from the other side: it is nobody's peer, and no failure.
    let stranger = Stranger::new(&anna.chain, "test");
    let stream = TcpStream::connect(anna.address).await.expect("it listens");
    let mut session = stranger.noise(stream, Direction::Outbound).await;
    assert!(matches!(session.receive().await, Ok(Message::Handshake(_))));
    session.send(&Message::goodbye(Reason::Feeler, "only a look")).await;
    assert_eq!(session.end().await, None);
    assert!(anna.peers().await.iter().all(|peer| peer.static_key == named.key()));
}

/// Attack 44: the inbound slots are taken.
#[tokio::test]
async fn inbound_slots_are_limited_and_outbound_links_need_none() {
    let chain = FakeChain::new("test");
    let anna = Node::start_with(chain, PeerConfig { inbound_max: 1, ..config() }).await;
    let _first = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    until("a peer", async || anna.peers().await.len() == 1).await;
    let mut second = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    assert_eq!(second.end().await.as_deref(), Some("FULL"));
    let bert = Node::start("test", &[]).await;
    anna.add(&bert).await;
    until_linked(&anna, &bert).await;
}
