use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

/// Numbers of the agent's protocol (draft-ietf-sshm-ssh-agent, "Message Numbers").
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Somebody may have to confirm.
const PATIENCE: Duration = Duration::from_secs(120);
/// Far above any signature.
const MAX_ANSWER: usize = 64 << 10;

/// A key that an ssh-agent holds.
pub(super) struct AgentKey {
    pub socket: PathBuf,
    pub key: ssh_key::PublicKey,
}

impl AgentKey {
    /// The signature's bytes, without what OpenSSH puts around them. Whether it holds, the caller has to see.
    pub fn sign(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let key = self.key.to_bytes().map_err(io::Error::other)?;
        let mut request = vec![SIGN_REQUEST];
        for part in [&key, message] {
            put(&mut request, part)?;
        }
        request.extend(0_u32.to_be_bytes());
        let mut framed = Vec::new();
        put(&mut framed, &request)?;
        let mut agent = UnixStream::connect(&self.socket)?;
        agent.set_read_timeout(Some(PATIENCE))?;
        agent.set_write_timeout(Some(PATIENCE))?;
        agent.write_all(&framed)?;
        let mut length = [0; 4];
        agent.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_ANSWER {
            return Err(io::Error::other("its answer is far too long"));
        }
        let mut answer = vec![0; length];
        agent.read_exact(&mut answer)?;
        match answer.split_first() {
            Some((&SIGN_RESPONSE, blob)) if blob.len() > 4 => {
                let signature = ssh_key::Signature::try_from(&blob[4..]).map_err(io::Error::other)?;
                Ok(signature.as_bytes().to_vec())
            }
            _ => Err(io::Error::other("it refuses to sign: does it hold the key (`ssh-add -L`)?")),
        }
    }
}

/// A string of the protocol: its length, and its bytes.
fn put(request: &mut Vec<u8>, part: &[u8]) -> io::Result<()> {
    let length = u32::try_from(part.len()).map_err(io::Error::other)?;
    request.extend(length.to_be_bytes());
    request.extend(part);
    Ok(())
}
