//! What is shown, before it is drawn.

use std::cmp::Reverse;

/// A network at one moment.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub network: String,
    pub engine: String,
    pub nodes: Vec<NodeRow>,
    /// The last blocks, the newest first.
    pub blocks: Vec<BlockRow>,
    /// When it was taken, Unix seconds.
    pub now: u64,
}

/// A node; what it does not tell is none.
#[derive(Clone, Debug, Default)]
pub struct NodeRow {
    pub name: String,
    pub is_up: bool,
    pub height: Option<u32>,
    pub final_height: Option<u32>,
    pub view: Option<u64>,
    /// `primary`, `backup`, `follower`, `halted`.
    pub role: Option<String>,
    pub peers: Option<usize>,
    pub mempool: Option<u64>,
    /// Hashes per second.
    pub hash_rate: Option<f64>,
    /// Of one call, microseconds.
    pub latency_us: Option<u64>,
}

/// A block of the main chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockRow {
    pub height: u32,
    pub hash: String,
    /// Unix seconds.
    pub time: u32,
    /// Beside the coinbase.
    pub transactions: usize,
    pub bytes: usize,
}

/// By what the nodes are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Name,
    Height,
    Peers,
    Mempool,
    Latency,
}

impl Order {
    /// The one after this, round and round.
    pub fn next(self) -> Self {
        match self {
            Self::Name => Self::Height,
            Self::Height => Self::Peers,
            Self::Peers => Self::Mempool,
            Self::Mempool => Self::Latency,
            Self::Latency => Self::Name,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Height => "height",
            Self::Peers => "peers",
            Self::Mempool => "mempool",
            Self::Latency => "latency",
        }
    }
}

impl Picture {
    /// The nodes in an order, the largest numbers first, those of equal rank as they were.
    pub fn sorted(&self, order: Order) -> Vec<&NodeRow> {
        let mut nodes: Vec<&NodeRow> = self.nodes.iter().collect();
        match order {
            // They come in the order of their names.
            Order::Name => {}
            Order::Height => nodes.sort_by_key(|node| Reverse(node.height)),
            Order::Peers => nodes.sort_by_key(|node| Reverse(node.peers)),
            Order::Mempool => nodes.sort_by_key(|node| Reverse(node.mempool)),
            Order::Latency => nodes.sort_by_key(|node| Reverse(node.latency_us)),
        }
        nodes
    }

    /// Transactions and seconds over the blocks shown, the oldest of which only gives the start.
    pub fn throughput(&self) -> Option<(usize, u32)> {
        let (newest, oldest) = (self.blocks.first()?, self.blocks.last()?);
        let seconds = newest.time.checked_sub(oldest.time).filter(|seconds| *seconds > 0)?;
        let blocks = self.blocks.len().saturating_sub(1);
        let transactions = self.blocks.iter().take(blocks).map(|block| block.transactions).sum();
        Some((transactions, seconds))
    }

    /// The largest value of a column.
    pub fn highest<T: Ord>(&self, of: impl Fn(&NodeRow) -> Option<T>) -> Option<T> {
        self.nodes.iter().filter_map(of).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(height: u32, time: u32, transactions: usize) -> BlockRow {
        BlockRow { height, time, transactions, ..BlockRow::default() }
    }

    #[test]
    fn throughput_counts_what_came_after_the_oldest_block() {
        let blocks = vec![block(3, 130, 5), block(2, 120, 15), block(1, 110, 1_000)];
        let picture = Picture { blocks, ..Picture::default() };
        assert_eq!(picture.throughput(), Some((20, 20)));
        let picture = Picture { blocks: vec![block(3, 130, 5)], ..Picture::default() };
        assert_eq!(picture.throughput(), None, "one block takes no time");
    }

    #[test]
    fn every_order_comes_round() {
        let mut order = Order::default();
        let mut names = Vec::new();
        while !names.contains(&order.name()) {
            names.push(order.name());
            order = order.next();
        }
        assert_eq!(names, ["name", "height", "peers", "mempool", "latency"]);
        let node =
            |name: &str, height| NodeRow { name: name.to_owned(), height, ..NodeRow::default() };
        let nodes = vec![node("a", None), node("b", Some(1)), node("c", Some(2))];
        let picture = Picture { nodes, ..Picture::default() };
        let names: Vec<_> =
            picture.sorted(Order::Height).iter().map(|node| node.name.clone()).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}
