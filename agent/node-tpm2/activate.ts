import { rmSync } from 'node:fs';
import type { LoadedAttestationKey } from './attestation-key.ts';
import { highRangePolicies } from './ek-profile.ts';
import type { LoadedEndorsementKey } from './endorsement-key.ts';
import { checkSized } from './sized.ts';
import { ToolError } from './tool-error.ts';
import type { TpmConnection } from './tpm-connection.ts';

/** The output of TPM2_MakeCredential. */
export interface Credential {
  /** TPM2B_ID_OBJECT, with its size field. */
  readonly credential: Buffer;
  /** TPM2B_ENCRYPTED_SECRET, with its size field. */
  readonly secret: Buffer;
}

/**
 * TPM2_ActivateCredential: recovers the credential's secret, which only the TPM that holds both keys can do. The
 * secret comes through a pipe and is in no file; the caller wipes it.
 */
export async function activateCredential(
  connection: TpmConnection,
  keys: { readonly attestation: LoadedAttestationKey; readonly endorsement: LoadedEndorsementKey },
  credential: Credential,
): Promise<Buffer> {
  checkSized('credential', credential.credential, 132, 'tpm2_activatecredential');
  checkSized('secret', credential.secret, 1024, 'tpm2_activatecredential');
  // Both keys are loaded next, and a small TPM holds three objects.
  await connection.flushLeftovers();
  const blob = connection.putFile(
    'credential',
    Buffer.concat([fileHeader, credential.credential, credential.secret]),
  );
  const session = connection.file('ek.session');
  try {
    await authorise(connection, keys.endorsement, session);
    const { stdout } = await connection.tool(
      'tpm2_activatecredential',
      [
        ...['-c', keys.attestation.context, '-C', keys.endorsement.context, '-P', `session:${session}`],
        ...['-i', blob, '-o', '/dev/null'],
      ],
      { leavesObject: true },
    );
    return takeSecret(stdout);
  } finally {
    rmSync(blob, { force: true });
    await connection.endSession(session);
  }
}

/** A policy session that satisfies the key's authPolicy: never user authorisation, which counts for lockout. */
export async function authorise(
  connection: TpmConnection,
  key: LoadedEndorsementKey,
  session: string,
): Promise<void> {
  const { nameAlg, range } = key.profile;
  await connection.tool('tpm2_startauthsession', ['--policy-session', '-g', nameAlg, '-S', session]);
  await connection.tool('tpm2_policysecret', ['-Q', '-S', session, '-c', 'e']);
  if (range === 'low') return;
  const { a, c } = highRangePolicies[nameAlg];
  const branches = [
    connection.putFile('policy.a', Buffer.from(a, 'hex')),
    connection.putFile('policy.c', Buffer.from(c, 'hex')),
  ];
  await connection.tool('tpm2_policyor', ['-Q', '-S', session, '-l', `${nameAlg}:${branches.join(',')}`]);
}

/** How tpm2-tools begin a credential file: magic, version 1. */
const fileHeader = Buffer.from('badcc0de00000001', 'hex');

const prefix = Buffer.from('certinfodata:');

/** Decodes the printed secret and wipes what was printed; hex by hand, since a string cannot be wiped. */
function takeSecret(printed: Buffer): Buffer {
  const start = printed.indexOf(prefix) + prefix.length;
  const end = printed.indexOf(0x0a, start);
  const secret = Buffer.alloc(Math.max(0, (end === -1 ? printed.length : end) - start) >>> 1);
  for (let i = 0; i < secret.length; i++)
    secret[i] = (hexDigit(printed[start + 2 * i]) << 4) | hexDigit(printed[start + 2 * i + 1]);
  printed.fill(0);
  if (start >= prefix.length && secret.length > 0) return secret;
  throw new ToolError('tpm2_activatecredential printed no secret', {
    code: 'failed',
    tool: 'tpm2_activatecredential',
  });
}

function hexDigit(character = 0x30): number {
  return character <= 0x39 ? character - 0x30 : (character | 0x20) - 0x57;
}
