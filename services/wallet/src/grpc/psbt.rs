//! Payments of several, passed round as PSBTs.

use std::sync::Arc;

use pentad_api::wallet::v1::psbt_service_server::PsbtService;
use pentad_api::wallet::v1::*;
use pentad_primitives::encode::Encode as _;
use tonic::{Request, Response, Status};

use crate::audit::{address, paid};
use crate::error::WalletError;
use crate::psbt::{SigningError, finalize, from_text, is_complete, to_text};
use crate::wallets::Wallets;

#[tonic::async_trait]
impl PsbtService for Wallets {
    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn show_cosigner(
        &self,
        request: Request<ShowCosignerRequest>,
    ) -> Result<Response<ShowCosignerResponse>, Status> {
        let ShowCosignerRequest { wallet, passphrase } = request.into_inner();
        let wallet = self.inner.wallet(wallet.parse().map_err(WalletError::Name)?).await?;
        let opened = Arc::clone(&wallet);
        let cosigner = self.again(passphrase, move |it| opened.cosigner(it)).await?;
        Ok(Response::new(ShowCosignerResponse { cosigner: cosigner.to_string() }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn create_multisig(
        &self,
        request: Request<CreateMultisigRequest>,
    ) -> Result<Response<CreateMultisigResponse>, Status> {
        Ok(Response::new(Self::create_multisig(self, request.into_inner()).await?))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn create_psbt(
        &self,
        request: Request<CreatePsbtRequest>,
    ) -> Result<Response<CreatePsbtResponse>, Status> {
        let (psbt, fee) = Self::create_psbt(self, request.into_inner()).await?;
        Ok(Response::new(CreatePsbtResponse { psbt: to_text(&psbt), fee }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn show_psbt(
        &self,
        request: Request<ShowPsbtRequest>,
    ) -> Result<Response<ShowPsbtResponse>, Status> {
        let psbt = from_text(&request.into_inner().psbt).map_err(WalletError::from)?;
        let versions = self.inner.chain.network().await?.versions;
        let shown = || -> Result<ShowPsbtResponse, SigningError> {
            let mut inputs = Vec::new();
            for index in 0..psbt.inputs.len() {
                let spent = psbt.spent(index)?;
                let (signed, required) = psbt.progress(index)?;
                let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
                inputs.push(PsbtInput {
                    address: address(spent).map(|it| it.encode(&versions)).unwrap_or_default(),
                    amount: spent.amount.units(),
                    signed: count(signed),
                    required: count(required),
                });
            }
            let paid = psbt.transaction().outputs.iter().map(|output| paid(output, &versions));
            let payments = paid.map(|paid| Payment { address: paid.to, amount: paid.amount });
            Ok(ShowPsbtResponse {
                payments: payments.collect(),
                fee: psbt.fee()?,
                inputs,
                complete: is_complete(&psbt)?,
            })
        };
        Ok(Response::new(shown().map_err(WalletError::from)?))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn sign_psbt(
        &self,
        request: Request<SignPsbtRequest>,
    ) -> Result<Response<SignPsbtResponse>, Status> {
        let SignPsbtRequest { psbt, wallet } = request.into_inner();
        let mut psbt = from_text(&psbt).map_err(WalletError::from)?;
        let name = wallet.parse().map_err(WalletError::Name)?;
        let signed = self.inner.sign_psbt(&mut psbt, name).await?;
        let complete = is_complete(&psbt).map_err(WalletError::from)?;
        Ok(Response::new(SignPsbtResponse { psbt: to_text(&psbt), signed, complete }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn combine_psbts(
        &self,
        request: Request<CombinePsbtsRequest>,
    ) -> Result<Response<CombinePsbtsResponse>, Status> {
        let texts = request.into_inner().psbts;
        let combined = || -> Result<_, SigningError> {
            let [first, rest @ ..] = texts.as_slice() else {
                return Err(SigningError::Few(0));
            };
            if rest.is_empty() {
                return Err(SigningError::Few(1));
            }
            let mut psbt = from_text(first)?;
            for text in rest {
                psbt.combine(from_text(text)?)?;
            }
            Ok((to_text(&psbt), is_complete(&psbt)?))
        };
        let (psbt, complete) = combined().map_err(WalletError::from)?;
        Ok(Response::new(CombinePsbtsResponse { psbt, complete }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn finalize_psbt(
        &self,
        request: Request<FinalizePsbtRequest>,
    ) -> Result<Response<FinalizePsbtResponse>, Status> {
        let transaction = from_text(&request.into_inner().psbt).and_then(finalize);
        let transaction = transaction.map_err(WalletError::from)?;
        Ok(Response::new(FinalizePsbtResponse {
            transaction: transaction.to_bytes().into(),
            txid: transaction.txid().to_string(),
        }))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn submit_psbt(
        &self,
        request: Request<SubmitPsbtRequest>,
    ) -> Result<Response<SubmitPsbtResponse>, Status> {
        let psbt = from_text(&request.into_inner().psbt).map_err(WalletError::from)?;
        let (transaction, fee) = self.inner.submit_psbt(psbt).await?;
        Ok(Response::new(SubmitPsbtResponse { txid: transaction.txid().to_string(), fee }))
    }
}
