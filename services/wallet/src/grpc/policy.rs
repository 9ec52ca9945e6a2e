//! Policies of wallets, and payments that wait for approval.

use std::sync::Arc;

use pentad_api::wallet::v1::policy_service_server::PolicyService;
use pentad_api::wallet::v1::*;
use pentad_keystore::audit::Event;
use tonic::{Request, Response, Status};

use super::keystore::owners;
use crate::error::WalletError;
use crate::payment::unix_time;
use crate::policy::{check, message};
use crate::wallets::Wallets;

#[tonic::async_trait]
impl PolicyService for Wallets {
    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn set_policy(
        &self,
        request: Request<SetPolicyRequest>,
    ) -> Result<Response<SetPolicyResponse>, Status> {
        let SetPolicyRequest { wallet, passphrase, policy } = request.into_inner();
        // The file's passphrase does not do: whoever may pay could lift the policy.
        let passphrase = owners(passphrase)?.ok_or(WalletError::NoPassphrase)?;
        let wallet = self.inner.wallet(wallet.parse().map_err(WalletError::Name)?).await?;
        let versions = self.inner.chain.network().await?.versions;
        let rules = policy.unwrap_or_default();
        let policy =
            self.inner.blocking(move |keystore| Ok(check(rules, keystore, &versions)?)).await?;
        let json = policy.as_ref().map_or_else(|| "{}".to_owned(), |policy| policy.to_json());
        let opened = Arc::clone(&wallet);
        let setting =
            self.inner.hashing(move |_| Ok(opened.set_policy(&passphrase, policy)?)).await;
        self.inner.note_attempt(&wallet, Event::PolicySet { policy: json }, setting).await?;
        tracing::info!(wallet = %wallet.name(), "policy set");
        Ok(Response::new(SetPolicyResponse {}))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn get_policy(
        &self,
        request: Request<GetPolicyRequest>,
    ) -> Result<Response<GetPolicyResponse>, Status> {
        let name = request.into_inner().wallet.parse().map_err(WalletError::Name)?;
        let wallet = self.inner.wallet(name).await?;
        let policy = wallet.policy().map(|policy| message(&policy));
        let spent = self.inner.book().spent(wallet.name().as_str(), unix_time());
        Ok(Response::new(GetPolicyResponse { policy, spent }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn list_approvals(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let name = super::named(&request.into_inner().wallet)?;
        let name = name.as_ref().map(|name| name.as_str());
        let waiting = self.inner.book().pending(name, unix_time());
        let mut approvals = Vec::new();
        for (approval, pending) in waiting {
            let wallet = self.inner.wallet(pending.wallet.parse().map_err(WalletError::Name)?);
            let policy = wallet.await.ok().and_then(|wallet| wallet.policy());
            approvals.push(Approval {
                approval,
                wallet: pending.wallet,
                time: pending.time,
                reason: pending.reason,
                approver: policy.and_then(|it| it.approver.clone()).unwrap_or_default(),
                text: pending.text,
            });
        }
        Ok(Response::new(ListApprovalsResponse { approvals }))
    }

    #[tracing::instrument(
        skip_all,
        fields(approval = request.get_ref().approval),
        err(level = "debug")
    )]
    async fn approve(
        &self,
        request: Request<ApproveRequest>,
    ) -> Result<Response<ApproveResponse>, Status> {
        let ApproveRequest { approval, signature } = request.into_inner();
        let sent = Self::approve(self, approval, &signature).await?;
        let txid = sent.transaction.txid().to_string();
        Ok(Response::new(ApproveResponse { txid, fee: sent.fee }))
    }

    #[tracing::instrument(
        skip_all,
        fields(approval = request.get_ref().approval),
        err(level = "debug")
    )]
    async fn reject(
        &self,
        request: Request<RejectRequest>,
    ) -> Result<Response<RejectResponse>, Status> {
        Self::reject(self, request.into_inner().approval).await?;
        Ok(Response::new(RejectResponse {}))
    }
}
