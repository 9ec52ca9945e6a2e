//! What the operator sees and decides: bans, known keys only, shares, progress.

use tonic::Code;

use super::*;

fn ban(key: &str, seconds: u64, reason: &str) -> proto::BanPeerRequest {
    let (static_key, reason) = (key.to_owned(), reason.to_owned());
    proto::BanPeerRequest { static_key, seconds, reason }
}

fn unban(key: &str) -> proto::UnbanPeerRequest {
    proto::UnbanPeerRequest { static_key: key.to_owned() }
}

#[tokio::test]
async fn bans_end_links_survive_a_restart_and_are_lifted() {
    let anna = Node::start("test", &[]).await;
    let bert = Node::start("test", &[]).await;
    bert.add(&anna).await;
    until_linked(&anna, &bert).await;
    let key = bert.peer.api.key.to_string();
    anna.client().ban_peer(ban(&key, 3600, "too loud")).await.expect("banned");
    until("no link", async || anna.peers().await.is_empty()).await;

    let (directory, chain) = (Arc::clone(&anna.directory), anna.chain.clone());
    let listen = anna.address;
    anna.stop().await;
    let anna = Node::start_in(directory, chain, PeerConfig { listen, ..config() }).await;
    let bans = async || match anna.client().list_bans(proto::ListBansRequest {}).await {
        Ok(answer) => answer.into_inner().bans,
        Err(status) if status.code() == Code::Unavailable => Vec::new(),
        Err(status) => panic!("{status}"),
    };
    until("it has started", async || !bans().await.is_empty()).await;
    let [kept] = &bans().await[..] else { panic!("one ban") };
    assert_eq!((kept.static_key.as_str(), kept.reason.as_str()), (key.as_str(), "too loud"));
    assert!(kept.by_operator && kept.until > 1_600_000_000);
    let directory = Arc::clone(&bert.directory);
    bert.stop().await;
    let stranger = Stranger {
        identity: Identity::load_or_create(directory.path()).expect("its key"),
        ..Stranger::new(&anna.chain, "test")
    };
    let mut refused = stranger.connect(anna.address).await;
    assert_eq!(refused.end().await.as_deref(), Some("BANNED"));

    anna.client().unban_peer(unban(&key)).await.expect("lifted");
    let status = anna.client().unban_peer(unban(&key)).await.expect_err("lifted already");
    assert_eq!(status.code(), Code::NotFound);
    let _welcome = stranger.connect(anna.address).await;
    until("a peer", async || anna.peers().await.len() == 1).await;
    let status = anna.client().ban_peer(ban("key", 0, "")).await.expect_err("malformed");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn only_known_keys_are_peers_where_the_operator_says_so() {
    let known = Stranger::new(&FakeChain::new("test"), "test");
    let allowed_keys = vec![known.identity.public().to_string()];
    let config = PeerConfig { allowed_keys, ..config() };
    let anna = Node::start_with(FakeChain::new("test"), config).await;
    let mut unknown = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    assert_eq!(unknown.end().await.as_deref(), Some("NOT_ALLOWED"));
    let _known = known.connect(anna.address).await;
    until("a peer", async || anna.peers().await.len() == 1).await;
}

/// Attack 44: one address does not take all inbound slots.
#[tokio::test]
async fn an_address_has_its_share_of_the_inbound_slots() {
    let config = PeerConfig { inbound_per_address_max: 2, shared_ranges: Vec::new(), ..config() };
    let anna = Node::start_with(FakeChain::new("test"), config).await;
    let from = |ip: [u8; 4]| {
        let (chain, to) = (anna.chain.clone(), anna.address);
        async move { Stranger::new(&chain, "test").connect_from(IpAddr::from(ip), to).await }
    };
    let _inside = [from([127, 0, 0, 2]).await, from([127, 0, 0, 2]).await];
    until("both", async || anna.peers().await.len() == 2).await;
    let mut third = from([127, 0, 0, 2]).await;
    assert_eq!(third.end().await.as_deref(), Some("FULL"));
    let _other = from([127, 0, 0, 3]).await;
    until("another address", async || anna.peers().await.len() == 3).await;
}

#[tokio::test]
async fn progress_and_traffic_are_shown() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(300, 0, 1_000);
    let bert = Node::start("test", &[&anna]).await;
    until_tip(&bert, anna.chain.tip()).await;
    let status = async || {
        let request = proto::GetSyncStatusRequest {};
        bert.client().get_sync_status(request).await.expect("running").into_inner()
    };
    until("its own view", async || status().await.height == 300).await;
    let status = status().await;
    assert_eq!((status.best_height, status.remaining_seconds), (300, None));
    let [peer] = &bert.peers().await[..] else { panic!("one peer") };
    let [consensus, announcements, bulk] = &peer.traffic[..] else { panic!("three classes") };
    assert_eq!(consensus.class, "consensus");
    assert!(consensus.messages_received > 0 && announcements.messages_sent > 0);
    assert!(bulk.messages_received >= 301 && bulk.bytes_received > 300 * 1_000, "{bulk:?}");
    assert!(!peer.consensus && bulk.messages_dropped == 0);
}
