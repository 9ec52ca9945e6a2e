//! What validators make final where work makes the blocks: engine hybrid.

use pentad_api::chain::v1::follow_tip_response::Event as TipEvent;

use super::*;

/// The one certificate that makes a block final here: view, sequence, digest, and nothing signed.
pub(crate) fn certificate(hash: BlockHash, height: usize) -> Bytes {
    let sequence = (height as u64).to_le_bytes();
    [&[0; 8][..], &sequence, hash.as_bytes(), &[7; 200]].concat().into()
}

/// What is final.
#[derive(Default)]
pub(super) struct Finality {
    pub(super) height: usize,
    certificate: Bytes,
    /// Block, height and certificate of what is not here yet.
    awaited: Option<(BlockHash, usize, Bytes)>,
    /// Certificates handed in.
    handed_in: usize,
    /// Certificates that are to find the service away.
    failures: usize,
}

impl FakeChain {
    /// One whose blocks become final by certificates that come later.
    pub(crate) fn hybrid(network: &str) -> Self {
        Self::with(network, Engine::Hybrid)
    }

    pub(crate) fn final_height(&self) -> usize {
        self.state().finality.height
    }

    /// How many certificates the peer service has handed in.
    pub(crate) fn certificates(&self) -> usize {
        self.state().finality.handed_in
    }

    /// Lets the next `count` certificates find the service away.
    pub(crate) fn fail_certificates(&self, count: usize) {
        self.state().finality.failures = count;
    }

    /// What makes the block of the main chain at this height final.
    pub(crate) fn certificate_at(&self, height: usize) -> Bytes {
        certificate(self.state().main[height - 1], height)
    }

    /// The certificate kept beside the block of the main chain at this height; empty: none.
    pub(crate) fn kept_certificate(&self, height: usize) -> Bytes {
        let state = self.state();
        state.bodies[&state.main[height - 1]].1.clone()
    }

    /// Makes a block of the main chain final, as this node's validator does.
    pub(crate) fn make_final(&self, height: usize) {
        let outcome = self.finalise(&self.certificate_at(height));
        assert_eq!(outcome, Ok(proto::FinalityOutcome::Final));
    }

    pub(super) fn hand_in(
        &self,
        certificate: &Bytes,
    ) -> Result<proto::FinaliseBlockResponse, Status> {
        if self.0.engine != Engine::Hybrid {
            return Err(Status::failed_precondition("work alone, or PBFT alone"));
        }
        let mut state = self.state();
        state.finality.handed_in += 1;
        if let Some(left) = state.finality.failures.checked_sub(1) {
            state.finality.failures = left;
            return Err(Status::unavailable("as the test wants"));
        }
        drop(state);
        let mut response = proto::FinaliseBlockResponse::default();
        match self.finalise(certificate) {
            Ok(outcome) => response.set_outcome(outcome),
            Err(refusal) => response.refusal = Some(refusal),
        }
        Ok(response)
    }

    fn finalise(&self, bytes: &Bytes) -> Result<proto::FinalityOutcome, proto::Refusal> {
        let outcome = self.finalise_in(&mut self.state(), bytes);
        self.change();
        outcome
    }

    pub(super) fn finalise_in(
        &self,
        state: &mut State,
        bytes: &Bytes,
    ) -> Result<proto::FinalityOutcome, proto::Refusal> {
        let hash = BlockHash::from_bytes(bytes[16..48].try_into().expect("32 bytes"));
        let sequence = u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes"));
        let height = usize::try_from(sequence).expect("a short chain");
        let known = state.headers.get(&hash).map(|(height, _)| *height);
        if *bytes != certificate(hash, height) || known.is_some_and(|known| known != height) {
            return Err(refusal("BAD_CERTIFICATE", 100));
        }
        if height <= state.finality.height {
            return if state.main[height - 1] == hash {
                Ok(proto::FinalityOutcome::AlreadyFinal)
            } else {
                Err(refusal("CONFLICTING_FINALITY", 0))
            };
        }
        if !state.bodies.contains_key(&hash) {
            let awaited = state.finality.awaited.as_ref().map_or(0, |awaited| awaited.1);
            if awaited < height {
                state.finality.awaited = Some((hash, height, bytes.clone()));
            }
            return Ok(proto::FinalityOutcome::Awaited);
        }
        if state.main.get(height - 1) != Some(&hash) {
            self.move_to(state, hash);
        }
        (state.finality.height, state.finality.certificate) = (height, bytes.clone());
        state.finality.awaited.take_if(|awaited| awaited.1 <= height);
        state.bodies.get_mut(&hash).expect("it is here").1 = bytes.clone();
        // What stands on it may be longer than the branch that was left.
        let longest = |state: &State, stored: bool| {
            let is_open =
                |(hash, _): &(&BlockHash, &(usize, Bytes))| !self.is_below_finality(state, **hash);
            let candidates = state.headers.iter().filter(is_open);
            let candidates = candidates.filter(|it| !stored || state.bodies.contains_key(it.0));
            candidates.max_by_key(|(_, (height, _))| *height).map_or(hash, |(hash, _)| *hash)
        };
        state.best = longest(state, false);
        let tip = longest(state, true);
        if state.headers[&tip].0 > state.main.len() {
            self.move_to(state, tip);
        }
        Ok(proto::FinalityOutcome::Final)
    }

    /// A block came: it, or one that a certificate waits for, may be final now.
    pub(super) fn finalise_at_hand(&self, state: &mut State, certificate: &Bytes) {
        let awaited = state.finality.awaited.take().map(|(_, _, bytes)| bytes);
        let given = Some(certificate.clone()).filter(|it| !it.is_empty());
        for bytes in given.into_iter().chain(awaited) {
            self.finalise_in(state, &bytes).expect("it was checked");
        }
    }

    /// Whether a block is on a branch without the last final one.
    pub(super) fn is_below_finality(&self, state: &State, hash: BlockHash) -> bool {
        let mut at = hash;
        if state.finality.height == 0 {
            return false;
        }
        while let Some((height, header)) = state.headers.get(&at) {
            if *height <= state.finality.height {
                return state.main[*height - 1] != at;
            }
            at = parent(header);
        }
        false
    }

    /// Bodies that a certificate waits for.
    pub(super) fn awaited(&self, state: &State) -> Vec<BlockHash> {
        let awaited = state.finality.awaited.as_ref();
        awaited.map(|(hash, ..)| self.path(state, *hash)).unwrap_or_default()
    }

    /// The event that tells what is final, if a follower was `told` less.
    pub(super) fn newly_final(state: &State, told: &mut usize) -> Option<TipEvent> {
        if state.finality.height <= *told {
            return None;
        }
        *told = state.finality.height;
        let header = Some(header_message(state, state.main[*told - 1]));
        Some(TipEvent::Final(proto::BlocksFinal { header }))
    }

    pub(super) fn last_final(&self) -> Result<proto::GetFinalityResponse, Status> {
        let state = self.state();
        let finality = &state.finality;
        Ok(proto::GetFinalityResponse {
            height: u32::try_from(finality.height).expect("a short chain"),
            certificate: finality.certificate.clone(),
            ..Default::default()
        })
    }
}
