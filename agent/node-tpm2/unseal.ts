import { rmSync } from 'node:fs';
import { authorise } from './activate.ts';
import type { LoadedEndorsementKey } from './endorsement-key.ts';
import { formatSelection, normaliseSelection, type PcrSelection } from './pcrs.ts';
import { checkSized } from './sized.ts';
import { ToolError } from './tool-error.ts';
import type { TpmConnection } from './tpm-connection.ts';

/** Sealed data that was duplicated to this TPM's endorsement key; each with its size field. */
export interface DuplicatedObject {
  /** TPM2B_PUBLIC. */
  readonly publicArea: Buffer;
  /** TPM2B_PRIVATE. */
  readonly duplicate: Buffer;
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly seed: Buffer;
}

/** The conditions of its policy, in this order: PolicyPCR, PolicyCounterTimer(resetCount =), PolicyCounterTimer(clock <). */
export interface UnsealPolicy {
  readonly selection: PcrSelection;
  readonly resetCount: number;
  /** Milliseconds of the TPM's clock. */
  readonly clockBefore: bigint;
}

/**
 * TPM2_Import, TPM2_Load and TPM2_Unseal: gives what was sealed, if the TPM is in the state that the policy names. It comes
 * through a pipe and is in no file; the caller wipes it.
 * @throws ToolError `pcrs_moved` (retryable) if any PCR was extended meanwhile; `failed` where the TPM refuses
 */
export async function unsealDuplicate(
  connection: TpmConnection,
  endorsement: LoadedEndorsementKey,
  object: DuplicatedObject,
  policy: UnsealPolicy,
): Promise<Buffer> {
  for (const field of ['publicArea', 'duplicate', 'seed'] as const)
    checkSized(field, object[field], 1024, 'tpm2_import');
  const files = {
    publicArea: await connection.putFile('sealed.pub', object.publicArea),
    duplicate: await connection.putFile('sealed.dup', object.duplicate),
    seed: await connection.putFile('sealed.seed', object.seed),
    private: connection.file('sealed.priv'),
    context: connection.file('sealed.ctx'),
  };
  try {
    await asParent(connection, endorsement, (parent) =>
      connection.tool(
        'tpm2_import',
        [...parent, '-u', files.publicArea, '-i', files.duplicate, '-s', files.seed, '-r', files.private],
        { leavesObject: true },
      ),
    );
    await asParent(connection, endorsement, (parent) =>
      connection.tool(
        'tpm2_load',
        ['-Q', ...parent, '-u', files.publicArea, '-r', files.private, '-c', files.context],
        { leavesObject: true },
      ),
    );
    return await unseal(connection, files.context, policy);
  } finally {
    for (const file of Object.values(files)) rmSync(file, { force: true });
  }
}

/** One session of the endorsement key's policy does not survive two commands. */
async function asParent(
  connection: TpmConnection,
  endorsement: LoadedEndorsementKey,
  command: (args: readonly string[]) => Promise<unknown>,
): Promise<void> {
  // A small TPM holds three objects.
  await connection.flushLeftovers();
  const session = connection.file('ek.session');
  try {
    await authorise(connection, endorsement, session);
    await command(['-C', endorsement.context, '-P', `session:${session}`]);
  } finally {
    await connection.endSession(session);
  }
}

async function unseal(connection: TpmConnection, context: string, policy: UnsealPolicy): Promise<Buffer> {
  await connection.flushLeftovers();
  const session = connection.file('unseal.session');
  const pcrs = formatSelection(normaliseSelection(policy.selection));
  const compares = [`--eq resets=${policy.resetCount}`, `--ult clock=${policy.clockBefore}`];
  try {
    await connection.tool('tpm2_startauthsession', ['--policy-session', '-g', 'sha256', '-S', session]);
    await connection.tool('tpm2_policypcr', ['-Q', '-S', session, '-l', pcrs]);
    for (const compare of compares)
      await connection.tool('tpm2_policycountertimer', ['-Q', '-S', session, ...compare.split(' ')]);
    const { stdout } = await connection.tool('tpm2_unseal', ['-c', context, '-p', `session:${session}`], {
      leavesObject: true,
    });
    return stdout;
  } catch (error) {
    throw movedOr(error);
  } finally {
    await connection.endSession(session);
  }
}

/** An extend of any PCR between PolicyPCR and Unseal, also of one that is not selected. */
function movedOr(error: unknown): unknown {
  if (!(error instanceof ToolError) || error.responseName !== 'TPM_RC_PCR_CHANGED') return error;
  return new ToolError('a PCR was extended while a secret was unsealed: try again', {
    code: 'pcrs_moved',
    tool: error.tool,
    exitCode: error.exitCode,
    retryable: true,
    cause: error,
  });
}
