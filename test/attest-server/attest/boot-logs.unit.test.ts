import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import type { Answer } from '../../../attest-server/attest/answer.ts';
import { BootLogs } from '../../../attest-server/attest/boot-logs.ts';
import { bankBytes } from '../../../attest-server/protocol/messages.ts';
import type { MeasuredBoot, QuotedBank } from '../../../attest-server/verify/proven.ts';
import { parseRawLog } from '../../../attest-server/verify/tpm/log-format.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { rejectionOf } from '../verify/rejection-of.ts';
import { event } from '../verify/tpm/log-builder.ts';

const folder = new URL('../../../swtpm-fixtures/recorded/debian13-uki-systemd/', import.meta.url);
const bytes = recordedLog('debian13-uki-systemd');
const records = readFileSync(new URL('tpm2-measure.log', folder));
const partOf = (part: Buffer) => ({ digest: hash('sha256', part, 'hex'), bytes: part });
const withRecords = { userSpace: partOf(records) };
const held: Readonly<Record<string, Readonly<Record<string, string>>>> = JSON.parse(
  readFileSync(new URL('pcrs.json', folder), 'utf8'),
);

/** The SHA-256 bank of that boot, all PCRs, with one of them as given. */
function quoted(pcr = 0, value = held.sha256?.[pcr] ?? ''): readonly QuotedBank[] {
  const all = Array.from({ length: 24 }, (_, index) => held.sha256?.[index] ?? '');
  const values = Buffer.from(all.with(pcr, value).join(''), 'hex');
  return [{ bank: 'sha256', mask: 0xffffff, values, pcrDigest: hash('sha256', values) }];
}
const anything = '5a'.repeat(bankBytes.sha256);

function answerOf(log: Buffer | null, more: Partial<Answer['parts']> = {}): Answer {
  const none = Buffer.alloc(0);
  const digest = hash('sha256', log ?? bytes);
  return {
    evidence: { type: 'evidence', nonce: '', channel: '', facts: '', quotes: [], parts: {} },
    nonce: none,
    channel: none,
    helloDigest: '',
    selection: {},
    challengedAt: 0,
    parts: { boot: { digest, bytes: log }, ...more },
  };
}

/** An EV_NO_ACTION event, which extends no PCR, as this log's banks have it. */
function unmeasured(value: number): Buffer {
  return event(0, 3, Buffer.of(value), parseRawLog(bytes).banks);
}

/** One log that is sent once, and what each later answer that names it is given. */
async function opened(more: Partial<Answer['parts']> = {}) {
  const logs = new BootLogs(async () => null);
  const measured = async (answer: Answer, banks: readonly QuotedBank[]): Promise<MeasuredBoot | undefined> =>
    (await logs.of(answer))?.measure(banks);
  const first = await measured(answerOf(bytes, more), quoted());
  return { logs, measured, first };
}

describe('the boot logs that answers rest on', () => {
  it('are not parsed again while PCRs are the same, or only IMA moved', async () => {
    const { measured, first } = await opened();
    assert.deepEqual(first?.problems, []);
    assert.equal(await measured(answerOf(null), quoted()), first);
    assert.equal(await measured(answerOf(null), quoted(10, anything)), first);
  });

  it('are replayed again where a measured PCR moved', async () => {
    const { measured, first } = await opened();
    for (const pcr of [0, 7, 11, 15])
      assert.notEqual(await measured(answerOf(null), quoted(pcr, anything)), first);
    assert.equal(
      (await measured(answerOf(null), quoted(4, anything)))?.problems[0]?.code,
      'log_replay_mismatch',
    );
  });

  it('are replayed again with what user space measured meanwhile', async () => {
    const { measured, first } = await opened();
    assert.deepEqual(first?.userSpace, []);
    const later = await measured(answerOf(null, withRecords), quoted());
    assert.equal(later?.userSpace?.length, 3);
    assert.equal(await measured(answerOf(null, withRecords), quoted()), later);
  });

  it('are completed with the log of user space that an answer only names: remembered, read, or missing', async () => {
    const named = { userSpace: { digest: withRecords.userSpace.digest, bytes: null } };
    const asked: string[] = [];
    const logs = new BootLogs(async (digest) => {
      asked.push(digest);
      return digest === named.userSpace.digest ? records : null;
    });
    const read = await logs.complete(answerOf(bytes, named));
    assert.deepEqual(read.parts.userSpace, withRecords.userSpace);
    (await logs.of(read))?.measure(quoted());
    assert.deepEqual((await logs.complete(answerOf(null, named))).parts.userSpace, withRecords.userSpace);
    assert.deepEqual(asked, [named.userSpace.digest]);
    const unknown = { userSpace: { digest: '00'.repeat(32), bytes: null } };
    await assert.rejects(logs.complete(answerOf(null, unknown)), { code: 'malformed' });
  });

  it('refuse a log of user space that cannot be read', async () => {
    const { measured } = await opened();
    const logs = new BootLogs(async () => bytes);
    const evidence = await logs.of(answerOf(null, { userSpace: partOf(Buffer.from('{}')) }));
    assert.equal(rejectionOf(() => evidence?.measure(quoted()))?.code, 'malformed');
    assert.deepEqual((await measured(answerOf(null), quoted()))?.problems, []);
  });

  it('are few for each node and boot, also where all replay: what nothing measures is free to invent', async () => {
    const { logs, measured } = await opened();
    for (let sent = 1; sent <= 9; sent += 1) {
      const answer = answerOf(Buffer.concat([bytes, unmeasured(sent)]));
      assert.deepEqual((await measured(answer, quoted()))?.problems, []);
      const counted = () => logs.count('node-1', 1, answer.parts.boot?.digest ?? '');
      assert.equal(rejectionOf(counted)?.code, sent <= 8 ? undefined : 'too_large');
    }
    const known = hash('sha256', Buffer.concat([bytes, unmeasured(1)]));
    assert.equal(
      rejectionOf(() => logs.count('node-1', 1, known)),
      null,
    );
    assert.equal(
      rejectionOf(() => logs.count('node-1', 2, 'another boot')),
      null,
    );
    assert.equal(
      rejectionOf(() => logs.count('node-2', 1, 'another node')),
      null,
    );
  });

  it('are remembered up to a number of bytes: the oldest go', async () => {
    const { measured, first } = await opened();
    const padded = (more: number) => answerOf(Buffer.concat([bytes, Buffer.alloc(1024 * 1024 + more)]));
    for (let sent = 0; sent < 16; sent += 1) await measured(padded(sent), quoted());
    assert.equal(await measured(answerOf(bytes), quoted()), first);
    for (let sent = 16; sent < 80; sent += 1) await measured(padded(sent), quoted());
    assert.notEqual(await measured(answerOf(bytes), quoted()), first);
  });

  it('are not remembered where they do not replay', async () => {
    const { measured } = await opened();
    const other = answerOf(tamper(bytes, 'kernel'));
    assert.notEqual(await measured(other, quoted()), await measured(other, quoted()));
  });
});
