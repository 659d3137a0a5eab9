import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { auditPage } from '../../../attest-server/api/audit-pages.ts';
import type { AuditLogResult } from '../../../attest-server/cli/offline/audit/verify-log.ts';
import { assertRefused, dial, enrolledNode, introduce } from '../attacker.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const words = 'evil-'.repeat(48_000);

describe("a stranger's own words in what he is refused with (row 119)", () => {
  let world: TestServer;
  let tpm: ForgedTpm;
  let dir: string;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-words-'));
    world = await startTestServer({ policy: 'observe' });
    tpm = forgedTpm();
    await enrolledNode(world, tpm, 'node-1');
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });

  for (const [index, [where, change]] of [
    ['an unknown member', (hello: object) => ({ ...hello, ek: { [words]: 1 } })],
    ['an unknown member of a member', (hello: object) => ({ ...hello, versions: { [words]: 1 } })],
    ['a bank', (hello: object) => ({ ...hello, banks: [words] })],
    ['a type', (hello: object) => ({ ...hello, type: words })],
    ['no JSON', () => words],
  ].entries() as Iterable<[number, [string, (hello: object) => object | string]]>)
    it(`stand nowhere: ${where} of 240 KB`, async () => {
      const from = `127.0.1.${index + 1}`;
      const sent = change(tpm.hello('node-1'));
      await assertRefused(world, '', 'malformed', async () => {
        const peer = await dial(world, { from });
        peer.send(typeof sent === 'string' ? sent : JSON.stringify(sent));
        return peer;
      });
      const entry = (await world.audit()).findLast(({ actor }) => actor === `address:${from}`);
      const text = String(entry?.detail.text);
      assert(text.length <= 256, text);
      assert.doesNotMatch(JSON.stringify(entry), /evil/);
    });

  it('do not hide the same refusal of the same name from another address (row 129)', async () => {
    const [noisy, other] = ['127.0.2.1', '127.0.2.2'];
    const refused = async (from: string) => {
      const peer = await introduce(world, forgedTpm(), 'node-1', { from });
      assert.equal(await peer.refusal(), 'enrolment_pending');
    };
    const before = (await world.audit()).length;
    for (let times = 0; times < 5; times += 1) await refused(noisy);
    await assertRefused(world, 'node-1', 'enrolment_pending', async () =>
      introduce(world, forgedTpm(), 'node-1', { from: other }),
    );
    const entries = (await world.audit()).slice(before).filter(({ action }) => action === 'refuse');
    assert.deepEqual(
      entries.map(({ actor, subject, code }) => [actor, subject, code]),
      [noisy, other].map((from) => [`address:${from}`, 'node-1', 'enrolment_pending']),
    );
  });

  it('are counted beyond some entries of each source, and told by code when the server ends (row 120)', async () => {
    await using flooded = await startTestServer({ policy: 'observe' });
    await enrolledNode(flooded, tpm, 'node-1');
    const [state, refusals] = [await flooded.status('node-1'), 'assay_refusals_total{code="malformed"}'];
    // So few of each that none of them waits at the door.
    const sources = Array.from({ length: 25 }, (_, index) => `127.0.3.${1 + index}`);
    const names = [1, 2, 3, 4].map((index) => `invented-${index}`);
    const attempts = sources.flatMap((from) => names.map((name) => ({ from, name })));
    for (const { from, name } of attempts) {
      // On a fast machine the door takes them no faster than this.
      const peer = await flooded.until(() => dial(flooded, { from }).catch(() => null));
      peer.send(JSON.stringify({ ...tpm.hello(name), banks: ['none'] }));
      assert.equal(await peer.refusal(), 'malformed');
    }
    assert.equal(await flooded.metric(refusals), attempts.length);
    assert.deepEqual(await flooded.status('node-1'), state);
    const refused = (await flooded.audit()).filter(({ action }) => action === 'refuse');
    assert.deepEqual(
      refused.map(({ actor }) => actor),
      sources.map((from) => `address:${from}`),
    );
    await flooded.server.close();
    const last = (await flooded.store.audit.entries({ limit: 1000 })).at(-1);
    assert.deepEqual(
      [last?.action, last?.detail.malformed],
      ['refuse.count', attempts.length - refused.length],
    );
  });

  it('do not stop export and verification where an earlier program kept them, however many', async function () {
    this.timeout(120_000);
    // As long in JSON: a page holds none but the first ones, and the others are quicker to read.
    const [escaped, plain] = ['\u0001"'.repeat(120_000), 'evil'.repeat(240_000)];
    for (let entry = 0; entry < 75; entry += 1) {
      const detail = { text: entry < 20 ? escaped : plain, leftOut: 0 };
      await world.store.audit.append({
        at: entry,
        actor: 'address:192.0.2.1',
        action: 'refuse',
        subject: '',
        code: 'malformed',
        detail,
      });
    }
    const token = readFileSync(join(world.stateDir, 'reader.token'), 'utf8').trim();
    const { text } = await world.ask('GET', '/v1/audit?limit=1000&after=10', token);
    const page = auditPage.parse(JSON.parse(text));
    assert(page.items.length < 10 && page.next !== null, `${page.items.length} entries`);
    const env = world.env('reader.token');
    const file = join(dir, 'export');
    const exported = await runAssay(['audit', 'export', file], { env });
    assert.equal(exported.code, 0, exported.err);
    assert(statSync(file).size > 64 * 1024 * 1024);
    for (const more of [[], [file], [join(world.stateDir, 'assay.db')]]) {
      const { code, out } = await runAssay(['audit', 'verify', '-o', 'json', ...more], { env });
      const { ok, fault } = JSON.parse(out) as AuditLogResult;
      assert.deepEqual([code, ok, fault], [0, true, null]);
    }
  });
});
