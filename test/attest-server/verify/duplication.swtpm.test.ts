import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import {
  type DuplicatedObject,
  openTpm,
  type PcrSelection,
  run,
  type Tpm,
  type UnsealPolicy,
} from 'node-tpm2';
import { sealTo } from '../../../attest-server/verify/duplication.ts';
import { parseQuote } from '../../../attest-server/verify/tpm/attest.ts';
import { releasePolicyDigest } from '../../../attest-server/verify/tpm/auth-policy.ts';
import { pcrBanks } from '../../../attest-server/wire/messages.ts';
import { launchTpm, type SoftwareTpm } from '../../../swtpm-fixtures/tpm.ts';

const every = Array.from({ length: 24 }, (_, pcr) => pcr);
const selection: PcrSelection = { sha1: [0, 7, 15], sha256: every, sha384: [15] };
/** All but PCR 10, which IMA moves all the time. */
const held: PcrSelection = { ...selection, sha256: every.filter((pcr) => pcr !== 10) };
const window = 120_000;

const maskOf = (pcrs: readonly number[]) => pcrs.reduce((mask, pcr) => mask | (1 << pcr), 0);

interface Sealed {
  readonly object: DuplicatedObject;
  readonly policy: UnsealPolicy;
}

describe('a secret that is sealed to an endorsement key', () => {
  let folder = '';
  let software: SoftwareTpm;
  let tpm: Tpm;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-sealed-'));
    software = await launchTpm();
    tpm = await open();
  });
  afterEach(async () => {
    await tpm.close();
    await software.stop();
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.startsWith('node-tpm2-')),
      [],
    );
    await rm(folder, { recursive: true });
  });

  const open = (path?: string): Promise<Tpm> =>
    openTpm({ tcti: software.tcti, runtimeDir: folder, ...(path !== undefined && { env: { PATH: path } }) });

  const tool = (program: string, ...args: string[]) =>
    run(program, args, {
      timeoutMs: 20_000,
      maxOutputBytes: 65_536,
      env: { TPM2TOOLS_TCTI: software.tcti },
    });

  /** For the state that the TPM is in. */
  async function sealed(secret: Buffer, { forMs = window } = {}): Promise<Sealed> {
    const ek = await tpm.readEndorsementKey();
    await tpm.createAttestationKey();
    const quote = await tpm.quote({ qualifyingData: randomBytes(32), selection });
    const { clock } = parseQuote(quote.attest);
    const clockBefore = clock.clock + BigInt(forMs);
    const quoted = pcrBanks.flatMap((bank) => {
      const values = quote.pcrs[bank];
      return values === undefined ? [] : [{ bank, mask: maskOf(selection[bank] ?? []), values }];
    });
    const policy = { resetCount: clock.resetCount, clockBefore };
    const authPolicy = releasePolicyDigest({ pcrs: quoted, ...policy });
    const object = sealTo(ek.publicArea, secret, authPolicy, randomBytes);
    return { object, policy: { selection: held, ...policy } };
  }

  async function opens(kind: 'rsa' | 'ecc'): Promise<void> {
    assert.equal((await tpm.readEndorsementKey()).kind, kind);
    for (const size of [32, 1, 128]) {
      const secret = randomBytes(size);
      const { object, policy } = await sealed(secret);
      assert.deepEqual(await tpm.unsealDuplicate(object, policy), secret);
      // As often as it likes, within the window.
      assert.deepEqual(await tpm.unsealDuplicate(object, policy), secret);
    }
  }

  it('is given out by the TPM of an RSA-2048 key, in the state that was quoted', () => opens('rsa'));

  it('is given out by the TPM of a P-384 key', async () => {
    // Then it is the only one with a certificate.
    await tool('tpm2_nvundefine', '-C', 'p', '0x01c00002');
    await opens('ecc');
  });

  it('stays closed once a PCR of any bank has moved (row 90)', async () => {
    const { object, policy } = await sealed(randomBytes(32));
    await tpm.extend(15, { sha384: hash('sha384', 'assay/cap/1', 'buffer') });
    await assert.rejects(tpm.unsealDuplicate(object, policy), {
      code: 'failed',
      tool: 'tpm2_unseal',
      responseName: 'TPM_RC_POLICY_FAIL',
    });
  });

  it('does not mind a PCR that the policy leaves out', async () => {
    const secret = randomBytes(32);
    const { object, policy } = await sealed(secret);
    await tpm.extend(10, { sha256: randomBytes(32) });
    assert.deepEqual(await tpm.unsealDuplicate(object, policy), secret);
  });

  it('stays closed after its time (row 89)', async () => {
    const { object, policy } = await sealed(randomBytes(32), { forMs: 1 });
    await assert.rejects(tpm.unsealDuplicate(object, policy), {
      tool: 'tpm2_policycountertimer',
      responseName: 'TPM_RC_POLICY',
    });
    // And a later end is another policy.
    const later = { ...policy, clockBefore: policy.clockBefore + BigInt(window) };
    await assert.rejects(tpm.unsealDuplicate(object, later), { responseName: 'TPM_RC_POLICY_FAIL' });
  });

  it('stays closed in the next boot, although its PCRs are the same (row 89)', async () => {
    const { object, policy } = await sealed(randomBytes(32));
    await software.powerCycle();
    await assert.rejects(tpm.unsealDuplicate(object, policy), {
      tool: 'tpm2_policycountertimer',
      responseName: 'TPM_RC_POLICY',
    });
    const next = { ...policy, resetCount: policy.resetCount + 1 };
    await assert.rejects(tpm.unsealDuplicate(object, next), { responseName: 'TPM_RC_POLICY_FAIL' });
  });

  it('cannot be imported by another TPM, nor where a byte of it is another (row 424)', async () => {
    const { object, policy } = await sealed(randomBytes(32));
    await using stranger = await launchTpm();
    await using other = await openTpm({ tcti: stranger.tcti, runtimeDir: folder });
    await assert.rejects(other.unsealDuplicate(object, policy), { tool: 'tpm2_import' });
    for (const member of ['publicArea', 'duplicate', 'seed'] as const) {
      const bytes = Buffer.from(object[member]);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
      await assert.rejects(
        tpm.unsealDuplicate({ ...object, [member]: bytes }, policy),
        { tool: 'tpm2_import', code: 'failed' },
        member,
      );
      const cut = object[member].subarray(0, -1);
      await assert.rejects(tpm.unsealDuplicate({ ...object, [member]: cut }, policy), { code: 'bad_input' });
    }
  });

  it('may be tried again where a PCR was extended in between (row 90)', async () => {
    const { object, policy } = await sealed(randomBytes(32));
    const programs = join(folder, 'programs');
    await mkdir(programs);
    const program = join(programs, 'tpm2_unseal');
    const extend = `/usr/bin/tpm2_pcrextend 10:sha256=${'11'.repeat(32)}`;
    await writeFile(program, `#!/bin/sh\n${extend} || exit 9\nexec /usr/bin/tpm2_unseal "$@"\n`);
    await chmod(program, 0o755);
    await using raced = await open(`${programs}:/usr/bin:/bin`);
    await assert.rejects(raced.unsealDuplicate(object, policy), { code: 'pcrs_moved', retryable: true });
  });
});
