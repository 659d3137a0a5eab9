import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type AuditWitness, openAuditWitness } from '../../agent/audit-witness.ts';
import { openStateDir } from '../../agent/state-dir.ts';
import { type AuditKey, signRotation } from '../../attest-server/wire/audit-key.ts';
import { formatCheckpoint } from '../../attest-server/wire/checkpoint.ts';
import type { VerdictMessage } from '../../attest-server/wire/messages.ts';
import { type MadeAuditKey, madeAuditKey, madeOrigin } from '../attest-server/formats/made-audit-key.ts';

const key = madeAuditKey();
const text = ({ publicKey }: MadeAuditKey) => publicKey.toString('base64');
const first: AuditKey = { publicKey: text(key), signature: null };

function shown(size: number, head = 'ab', by = key, auditKeys = [first], origin = madeOrigin) {
  return { checkpoint: formatCheckpoint({ origin, size, head: head.repeat(32) }, by), auditKeys };
}

describe('what an agent keeps of the audit log of its server', () => {
  let dir: string;
  let file: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-witness-'));
    file = join(dir, 'audit-checkpoint.json');
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  const open = async (): Promise<AuditWitness> =>
    openAuditWitness(await openStateDir(dir), (error) => assert.fail(String(error)));

  it('is the latest checkpoint that verified, in a file of its own', async () => {
    const witness = await open();
    assert.equal(witness.checkpoint, null);
    for (const size of [3, 3, 4, 9]) assert.equal(witness.observe(shown(size)), null);
    await witness.flush();
    assert.equal(witness.checkpoint, shown(9).checkpoint);
    assert.equal((await open()).checkpoint, shown(9).checkpoint);
    assert.equal(statSync(file).mode & 0o777, 0o600);
  });

  it('is not written again within seconds, nor where the log did not grow', async () => {
    const witness = await open();
    witness.observe(shown(3));
    await new Promise((resolve) => setTimeout(resolve, 50));
    witness.observe(shown(4));
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(JSON.parse(readFileSync(file, 'utf8')).checkpoint, shown(3).checkpoint);
    await witness.flush();
    assert.equal(JSON.parse(readFileSync(file, 'utf8')).checkpoint, shown(4).checkpoint);
  });

  it('says nothing where the server shows nothing', async () => {
    assert.equal((await open()).observe({}), null);
  });

  const stranger = madeAuditKey();
  const faults: readonly [string, Pick<VerdictMessage, 'checkpoint' | 'auditKeys'>][] = [
    ['a smaller log', shown(6)],
    ['another head of the same size', shown(7, 'cd')],
    [
      'a key that the pinned one did not sign',
      shown(8, 'ab', stranger, [{ publicKey: text(stranger), signature: null }]),
    ],
    [
      'a key beside the pinned one that it did not sign',
      shown(8, 'ab', stranger, [first, signRotation(madeOrigin, text(stranger), stranger.privateKey)]),
    ],
    ['a signature that is wrong', { ...shown(8), checkpoint: shown(8).checkpoint.replace('\n8\n', '\n9\n') }],
    [
      'another installation whose signature is wrong',
      shown(8, 'ab', stranger, [first], `assay/${'f'.repeat(32)}`),
    ],
    ['no checkpoint at all', { checkpoint: 'x', auditKeys: [first] }],
  ];
  for (const [what, verdict] of faults)
    it(`tells of ${what}, also after a start, and keeps what it had`, async () => {
      const witness = await open();
      witness.observe(shown(7));
      assert.notEqual(witness.observe(verdict), null);
      await witness.flush();
      const again = await open();
      assert.notEqual(again.observe(verdict), null);
      assert.equal(again.checkpoint, shown(7).checkpoint);
    });

  it('keeps the first proof of another log, also once that one is longer than what was seen (row 104)', async () => {
    const witness = await open();
    witness.observe(shown(7));
    assert.notEqual(witness.observe(shown(3, 'cd')), null);
    assert.equal(witness.observe(shown(8, 'cd')), null);
    assert.notEqual(witness.observe(shown(5, 'ef')), null);
    await witness.flush();
    assert.equal(witness.checkpoint, shown(8, 'cd').checkpoint);
    const proof = JSON.parse(readFileSync(join(dir, 'audit-checkpoint.earlier.json'), 'utf8'));
    assert.equal(proof.checkpoint, shown(7).checkpoint);
  });

  it('follows the server to a key that the pinned one signed', async () => {
    const next = madeAuditKey();
    const keys = [first, signRotation(madeOrigin, text(next), key.privateKey)];
    const witness = await open();
    witness.observe(shown(7));
    assert.equal(witness.observe(shown(8, 'ab', next, keys)), null);
    await witness.flush();
    assert.notEqual((await open()).observe(shown(9)), null);
  });

  it('is told once where the server signs another origin, which is witnessed from then on; the old proof stays', async () => {
    const witness = await open();
    witness.observe(shown(7));
    const origins = ['e', 'f'].map((digit) => `assay/${digit.repeat(32)}`);
    const [next, later] = origins.map((origin) => {
      const lostFor = madeAuditKey();
      return (size: number, head = 'ab') =>
        shown(size, head, lostFor, [{ publicKey: text(lostFor), signature: null }], origin);
    });
    assert(next !== undefined && later !== undefined);
    assert.notEqual(witness.observe(next(9)), null);
    assert.equal(witness.observe(next(9)), null);
    assert.notEqual(witness.observe(next(8)), null);
    await witness.flush();
    const again = await open();
    assert.equal(again.checkpoint, next(9).checkpoint);
    assert.equal(again.observe(next(10)), null);
    assert.notEqual(again.observe(shown(11)), null);
    assert.notEqual(again.observe(later(12)), null);
    await again.flush();
    const proof = JSON.parse(readFileSync(join(dir, 'audit-checkpoint.earlier.json'), 'utf8'));
    assert.equal(proof.checkpoint, shown(7).checkpoint);
  });

  it('is not begun anew by itself where its file is damaged', async () => {
    writeFileSync(file, '{}', { mode: 0o600 });
    await assert.rejects(open(), { code: 'state_dir' });
  });
});
