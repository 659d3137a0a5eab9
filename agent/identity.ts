import type { AttestationKey, Capabilities, EndorsementKey } from 'node-tpm2';
import type { Hello } from '../attest-server/wire/messages.ts';

/** The part of a TPM that makes up an identity: node-tpm2's `Tpm` has it. */
export interface IdentityTpm {
  readCapabilities(): Promise<Pick<Capabilities, 'banks'>>;
  readEndorsementKey(): Promise<Pick<EndorsementKey, 'publicArea' | 'certificate' | 'chain'>>;
  createAttestationKey(): Promise<Pick<AttestationKey, 'publicArea' | 'name'>>;
}

export type Identity = Pick<Hello, 'ek' | 'ak' | 'banks'>;

/** The identity of a machine without a usable TPM; the server then records `unsupported_tpm`. */
export const noIdentity: Identity = { ek: null, ak: null, banks: [] };

/** The keys and banks of this TPM. @throws ToolError */
export async function readIdentity(tpm: IdentityTpm): Promise<Identity> {
  const [ek, ak, { banks }] = await Promise.all([
    tpm.readEndorsementKey(),
    tpm.createAttestationKey(),
    tpm.readCapabilities(),
  ]);
  return {
    ek: {
      publicArea: ek.publicArea.toString('base64'),
      certificate: ek.certificate?.toString('base64') ?? null,
      chain: ek.chain.slice(0, 8).map((certificate) => certificate.toString('base64')),
    },
    ak: { publicArea: ak.publicArea.toString('base64'), name: ak.name },
    banks: [...banks],
  };
}
