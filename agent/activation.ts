import { createHmac } from 'node:crypto';
import type { Credential } from 'node-tpm2';
import { lengthPrefixed } from '../attest-server/wire/binding.ts';
import type { Activate, Activated } from '../attest-server/wire/messages.ts';

/** The part of a TPM that activates credentials: node-tpm2's `Tpm` has it. */
export interface ActivatingTpm {
  activateCredential(credential: Credential): Promise<Buffer>;
}

/**
 * Proves that attestation key and endorsement key are in one TPM, on this connection and for this hello.
 * @throws ToolError, also if the credential was made for other keys
 */
export async function activate(
  tpm: ActivatingTpm,
  message: Activate,
  session: { readonly channel: Buffer; readonly helloDigest: string },
): Promise<Activated> {
  const secret = await tpm.activateCredential({
    credential: Buffer.from(message.credential, 'base64'),
    secret: Buffer.from(message.secret, 'base64'),
  });
  try {
    const proof = createHmac('sha256', secret)
      .update(lengthPrefixed([label, session.channel, Buffer.from(session.helloDigest, 'hex')]))
      .digest('hex');
    return { type: 'activated', proof };
  } finally {
    secret.fill(0);
  }
}

const label = Buffer.from('assay/activated/1');
