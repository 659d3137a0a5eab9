import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { parseBundle } from '../../../attest-server/formats/bundle.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

const folder = new URL('../../../swtpm-fixtures/recorded/debian13-uki-systemd/', import.meta.url);
const bootLog = recordedLog('debian13-uki-systemd');
const userSpaceLog = readFileSync(new URL('tpm2-measure.log', folder));
const held: Readonly<Record<string, Readonly<Record<string, string>>>> = JSON.parse(
  readFileSync(new URL('pcrs.json', folder), 'utf8'),
);
/** What the TPM of that guest held once systemd was up. */
const values = Buffer.from(Array.from({ length: 24 }, (_, pcr) => held.sha256?.[pcr] ?? '').join(''), 'hex');
const node = 'node-1';

describe('a log of what user space measured, over a real connection', () => {
  let world: TestServer;
  let peer: Peer & { readonly hello: string };
  const tpm: ForgedTpm = forgedTpm();
  before(async () => {
    world = await startTestServer({ challengeEvery: 0.02 });
    await world.pin(node, tpm.ekDigest);
    peer = await introduce(world, tpm, node);
  });
  after(() => world?.[Symbol.asyncDispose]());

  async function send(userSpace: Buffer): Promise<void> {
    const challenge = await peer.challenge();
    for (const part of [bootLog, userSpace])
      if (!challenge.holds.includes(hash('sha256', part, 'hex'))) peer.send(binaryFrame('part', part));
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256: values } });
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog };
    peer.send(tpm.evidenceOfParts(challenge, occasion, { userSpace }, quote));
  }

  async function answer(log: Buffer): Promise<string> {
    await send(log);
    return (await peer.verdict()).state;
  }

  it('is judged, kept with the evidence, and exported, so that the same verdict follows offline', async () => {
    assert.equal(await answer(userSpaceLog), 'pending');
    await world.call('POST', '/v1/references', { node, name: 'good' });
    assert.equal(await answer(userSpaceLog), 'trusted');
    const text = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    assert.equal(parseBundle(text).parts.userSpace?.bytes, userSpaceLog.toString('base64'));
    const { verdict, rejected } = verifyBundle(text, { now: 0 });
    assert.deepEqual([verdict.state, rejected], ['trusted', false]);
  });

  it('changes no state where it cannot be read', async () => {
    const before = await world.status(node);
    await send(Buffer.from('no record'));
    await assert.rejects(peer.verdict());
    assert.deepEqual(await world.status(node), before);
    assert.ok((await world.metric('assay_refusals_total{code="malformed"}')) > 0);
  });
});
