//! The gRPC face of consensus.

use pentad_api::consensus::v1 as proto;
use pentad_api::consensus::v1::consensus_service_server::ConsensusService;
use tonic::{Request, Response, Status};

use crate::error::ConsensusError;
use crate::explain::{Explanation, explain, troubles};
use crate::message;
use crate::service::{Consensus, Inner, Network, Part};

impl Inner {
    /// Where this node stands.
    async fn status(&self) -> Result<proto::GetStatusResponse, ConsensusError> {
        let Some(network) = &self.network else {
            let role = proto::Role::Follower.into();
            return Ok(proto::GetStatusResponse { role, ..Default::default() });
        };
        match (&self.part, self.snapshot().await?) {
            (Part::Validator { own, .. }, Some(snapshot)) => {
                Ok(message::status(&snapshot, *own, &network.names(), self.vitals.halted()))
            }
            _ => self.followed(network).await,
        }
    }

    /// What one who does not vote sees of the agreement: the last certificate.
    async fn followed(
        &self,
        network: &Network,
    ) -> Result<proto::GetStatusResponse, ConsensusError> {
        let tip = self.chain.tip().await?;
        let names = network.names();
        let view = tip.certificate.map(|certificate| certificate.view).unwrap_or_default();
        let mut status = proto::GetStatusResponse {
            view: view.get(),
            primary: names.of(names.quorum().primary(view)).to_owned(),
            last_final: tip.sequence.get(),
            ..message::fixed(names.quorum())
        };
        if let Part::Halted { own } = &self.part {
            status.role = proto::Role::Halted.into();
            names.of(*own).clone_into(&mut status.validator);
            status.halted = self.vitals.halted().unwrap_or_default();
        }
        Ok(status)
    }

    async fn explain(&self) -> Result<proto::ExplainStallResponse, ConsensusError> {
        let Some(network) = &self.network else {
            let findings = vec!["this network's blocks are made by work: nothing is agreed on"];
            return Ok(proto::ExplainStallResponse {
                is_healthy: true,
                findings: findings.into_iter().map(str::to_owned).collect(),
                ..Default::default()
            });
        };
        let names = network.names();
        let snapshot = match self.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let mut findings = troubles(&self.vitals);
                findings.push(error.to_string());
                return Ok(proto::ExplainStallResponse { findings, ..Default::default() });
            }
        };
        let (explanation, status) = match (&self.part, snapshot) {
            (Part::Validator { own, .. }, Some(snapshot)) => {
                let timeout = network.view_timeout();
                let explanation = explain(&snapshot, &self.vitals, *own, &names, timeout);
                let halted = self.vitals.halted();
                (explanation, message::status(&snapshot, *own, &names, halted))
            }
            _ => self.explain_following(network).await?,
        };
        let Explanation { is_healthy, findings, votes_missing, silent } = explanation;
        Ok(proto::ExplainStallResponse {
            is_healthy,
            findings,
            status: Some(status),
            votes_missing: u32::try_from(votes_missing).unwrap_or(u32::MAX),
            silent: names.all(&silent),
        })
    }

    async fn explain_following(
        &self,
        network: &Network,
    ) -> Result<(Explanation, proto::GetStatusResponse), ConsensusError> {
        let status = self.followed(network).await?;
        let mut findings = Vec::new();
        if status.halted.is_empty() {
            findings.push("this node has no validator key: it follows".to_owned());
        } else {
            findings.push(format!("this validator does not vote: {}", status.halted));
        }
        findings.push(format!("the last final block here is {}", status.last_final));
        let is_healthy = status.halted.is_empty();
        Ok((Explanation { is_healthy, findings, ..Explanation::default() }, status))
    }
}

#[tonic::async_trait]
impl ConsensusService for Consensus {
    async fn get_status(
        &self,
        _: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        Ok(Response::new(self.inner.status().await?))
    }

    async fn list_validators(
        &self,
        _: Request<proto::ListValidatorsRequest>,
    ) -> Result<Response<proto::ListValidatorsResponse>, Status> {
        // One set for all heights: the chain spec's.
        let network = self.inner.network()?;
        // Who cannot say when it heard them knows all the same who they are.
        let snapshot = self.inner.snapshot().await.ok().flatten();
        let validators = message::validators(network, snapshot.as_ref());
        let set_hash = network.membership.domain().validators.to_string();
        Ok(Response::new(proto::ListValidatorsResponse { validators, set_hash }))
    }

    async fn explain_stall(
        &self,
        _: Request<proto::ExplainStallRequest>,
    ) -> Result<Response<proto::ExplainStallResponse>, Status> {
        Ok(Response::new(self.inner.explain().await?))
    }

    async fn list_evidence(
        &self,
        _: Request<proto::ListEvidenceRequest>,
    ) -> Result<Response<proto::ListEvidenceResponse>, Status> {
        let names = self.inner.network()?.names();
        let snapshot = self.inner.snapshot().await?;
        let evidence = snapshot.iter().flat_map(|snapshot| &snapshot.evidence);
        let evidence = evidence.map(|it| message::evidence(it, &names)).collect();
        Ok(Response::new(proto::ListEvidenceResponse { evidence }))
    }
}
