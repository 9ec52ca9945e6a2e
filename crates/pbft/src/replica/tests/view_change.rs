//! Section 4.4 of the paper.

use super::network::Network;
use crate::event::Timer;

#[test]
fn attack_2_a_silent_primary_is_left_and_the_next_one_orders() {
    let mut network = Network::of(4);
    network.cut_off(0);
    network.order(2);
    assert_eq!(network.heights(), [0; 4]);
    network.fire_all(Timer::View);
    network.run();
    assert_eq!(network.views()[1..], [(1, true); 3]);
    assert_eq!(network.heights(), [0, 2, 2, 2]);
}
