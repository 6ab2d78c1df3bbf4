//! Certificates for collectors that speak TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, and what it has signed.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names and addresses, and its key.
    pub(crate) fn sign(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let signed = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        (signed.pem(), key.serialize_pem())
    }

    /// What a Secret of cert-manager has, by its keys.
    pub(crate) fn secret(&self, names: &[&str]) -> [(&'static str, String); 3] {
        let (certificate, key) = self.sign(names);
        [("ca.crt", self.pem()), ("tls.crt", certificate), ("tls.key", key)]
    }
}
