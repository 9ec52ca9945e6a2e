//! Sections 4.2 and 4.3 of the paper.

use super::network::Network;

#[test]
fn four_replicas_order_blocks() {
    let mut network = Network::of(4);
    network.order(3);
    assert_eq!(network.heights(), [3; 4]);
    assert!(network.views().iter().all(|view| *view == (0, true)));
}
