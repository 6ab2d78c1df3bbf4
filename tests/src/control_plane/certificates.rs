use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, Error, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};

/// Everything the API server needs to be believed, as PEM.
pub(super) struct Certificates {
    pub(super) authority: String,
    pub(super) serving: String,
    pub(super) serving_key: String,
    /// Signs service account tokens.
    pub(super) tokens_key: String,
    pub(super) tokens_public: String,
}

impl Certificates {
    /// A new authority, a serving certificate for the loopback address and the service inside, and a token key.
    pub(super) fn generate() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "brokkr-lab");
        let authority = CertifiedIssuer::self_signed(params, key()?)?;

        let names = ["127.0.0.1", "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let mut params = CertificateParams::new(names.map(str::to_owned).to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let serving_key = key()?;
        let serving = params.signed_by(&serving_key, &authority)?;

        let tokens = key()?;
        Ok(Self {
            authority: authority.pem(),
            serving: serving.pem(),
            serving_key: serving_key.serialize_pem(),
            tokens_key: tokens.serialize_pem(),
            tokens_public: tokens.public_key_pem(),
        })
    }
}

fn key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}
